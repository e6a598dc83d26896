"""What transformers' own models say, and ours of the same weights, both ways."""

import pytest
import torch
from foreign_models import MODELS, WORDS, exportable, meta_folder, meta_tensors

import gptexp
from gptexp.interchange.huggingface import import_folder
from gptexp.interchange.meta_llama import import_llama
from gptexp.interchange.outgoing import export_weights

__all__ = ["exportable"]

pytestmark = pytest.mark.slow(minutes=0.3)


@pytest.fixture(scope="module")
def transformers():
    found = pytest.importorskip("transformers")
    found.logging.set_verbosity_error()
    return found


def models(t):
    """Random models of transformers, each of other switches."""
    small = {"vocab_size": 50, "n_positions": 24, "n_embd": 16, "n_layer": 2, "n_head": 4}
    sizes = {"vocab_size": 50, "max_position_embeddings": 24, "hidden_size": 16}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 44}
    rope = {"rope_type": "default", "rope_theta": 1234.5}
    return {
        "gpt2": t.GPT2LMHeadModel(t.GPT2Config(**small)),
        "gpt2, own head": t.GPT2LMHeadModel(
            t.GPT2Config(
                **small,
                tie_word_embeddings=False,
                activation_function="relu",
                n_inner=24,
                layer_norm_epsilon=1e-3,
            )
        ),
        "llama": t.LlamaForCausalLM(t.LlamaConfig(**sizes, num_key_value_heads=2)),
        "llama, tied": t.LlamaForCausalLM(
            t.LlamaConfig(
                **sizes,
                tie_word_embeddings=True,
                attention_bias=True,
                mlp_bias=True,
                rms_norm_eps=1e-3,
                rope_parameters=rope,
                hidden_act="gelu",
            )
        ),
    }


def continuations(t_model, run, prompts):
    """Greedy continuations by both, in tokens."""
    loaded = gptexp.load(run)
    for ids in prompts:
        row = ids
        for _ in range(8):
            with torch.no_grad():
                row = torch.cat([row, loaded.model(row)[:, -1:].argmax(-1)], dim=1)
        theirs = t_model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)
        yield row[0].tolist(), theirs[0].tolist()


def test_imports_predict_the_same_and_score_continuations_the_same(transformers, tmp_path):
    torch.manual_seed(0)
    for name, model in models(transformers).items():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, 0, 0.3)
        model.eval()
        model.save_pretrained(tmp_path / name)
        run = import_folder(tmp_path / name, WORDS, tmp_path / "runs")
        ours = gptexp.load(run).model
        ids = torch.randint(50, (20, 24))
        with torch.no_grad():
            theirs, mine = model(ids).logits, ours(ids)
        torch.testing.assert_close(
            mine, theirs, rtol=0, atol=1e-5, msg=lambda m, n=name: f"{n} {m}"
        )
        scores = [
            logits[:, 7:-1].log_softmax(-1).gather(2, ids[:, 8:, None]).sum(dim=(1, 2))
            for logits in (theirs, mine)
        ]
        torch.testing.assert_close(scores[1], scores[0], rtol=0, atol=1e-4)
        for one, other in continuations(model, run, ids[:3, :5].split(1)):
            assert one == other, name


@pytest.mark.parametrize("groups", [4, 2, 1])
def test_imports_from_metas_layout_predict_the_same(groups, transformers, tmp_path):
    sizes = {"vocab_size": 50, "max_position_embeddings": 24, "hidden_size": 32}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
    rope = {"rope_type": "default", "rope_theta": 5e5}
    config = transformers.LlamaConfig(
        **sizes, num_key_value_heads=groups, rms_norm_eps=1e-5, rope_parameters=rope
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    params = {"dim": 32, "n_heads": 4, "n_kv_heads": groups, "vocab_size": 50, "max_seq_len": 24}
    params |= {"norm_eps": 1e-5, "rope_theta": 5e5, "multiple_of": 32, "ffn_dim_multiplier": None}
    folder = meta_folder(tmp_path / "meta", meta_tensors(model.state_dict(), 8), **params)
    run = import_llama(folder, WORDS, tmp_path)
    ids = torch.randint(50, (20, 24))
    with torch.no_grad():
        theirs, mine = model(ids).logits, gptexp.load(run).model(ids)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    for one, other in continuations(model, run, ids[:2, :5].split(1)):
        assert one == other


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
@pytest.mark.parametrize("words", MODELS.values(), ids=[*MODELS])
def test_exports_are_loaded_and_predict_the_same(
    words, tokenizer, transformers, exportable, tmp_path
):
    size = ["tokenizer.vocab_size=262"] if tokenizer == "bpe" else []
    run = exportable(*words, f"tokenizer={tokenizer}", *size)
    folder = export_weights(run, "huggingface", tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    loaded = gptexp.load(run)
    text = "that is  not\nthe question: be"
    ids = theirs(text, return_tensors="pt").input_ids
    assert ids[0].tolist() == loaded.tokenizer.encode(text).tolist()
    assert theirs.decode(ids[0]) == text
    ids = ids[:, :8]
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids), model(ids).logits, rtol=0, atol=1e-5)
    [(one, other)] = continuations(model, run, [ids])
    assert one == other
