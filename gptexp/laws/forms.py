"""The laws that can be fitted. N are parameters, T tokens seen, U unique tokens, R = T / U epochs.

Where no token is seen twice, T and U are both the D of the papers.
"""

import numpy as np

from gptexp.laws.law import Law, Parameter, coefficient, exponent, limit
from gptexp.laws.points import Array, Points

FEW = (0.2, 0.35, 0.5, 0.8)  # values of an exponent to begin at, where a law has many
FAR = 50.0  # a difference of logarithms beyond which nothing of the smaller number is left


def log_sum(*logs: Array) -> Array:
    """The logarithm of a sum of exponentials, of arrays that go together."""
    largest = np.maximum.reduce(np.broadcast_arrays(*logs))
    return largest + np.log(sum(np.exp(x - largest) for x in logs))


def columns(at: Array) -> tuple[Array, ...]:
    """Coordinates [..., parameter] by parameter, each [..., 1], to go with rows."""
    return tuple(at[..., i, None] for i in range(at.shape[-1]))


class Chinchilla(Law):
    """A limit, and what a model and a text are short of: Hoffmann et al. 2022 (arXiv 2203.15556).

    Their approach 3, in the form and with the robust fit that Besiroglu et al. 2024 (arXiv
    2404.10102) have in "Chinchilla Scaling: A replication attempt". A token seen again counts as a
    new one.
    """

    name = "chinchilla"
    formula = "E + A/N^alpha + B/T^beta"
    source = "Hoffmann et al. 2022, arXiv 2203.15556"
    parameters = (
        limit("E"),
        coefficient("A"),
        coefficient("B"),
        exponent("alpha"),
        exponent("beta"),
    )

    def log_loss(self, at: Array, points: Points) -> Array:
        e, a, b, alpha, beta = columns(at)
        return log_sum(e, a - alpha * points.log_n, b - beta * points.log_tokens)

    def log_terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        of_n, of_tokens = -at["alpha"] * points.log_n, -at["beta"] * points.log_tokens
        return np.stack([np.zeros(len(points)), of_n, of_tokens]), points.log_loss


class Kaplan(Law):
    """A loss without a limit, of whichever is short: Kaplan et al. 2020 (arXiv 2001.08361).

    Their equation 1.5, of models trained until the validation loss is at its best, so that the D of
    it is the size of the text, U, however often that was seen. Their N are parameters without
    embeddings.
    """

    name = "kaplan"
    formula = "((N_c/N)^(alpha_N/alpha_D) + D_c/U)^alpha_D"
    source = "Kaplan et al. 2020, arXiv 2001.08361, equation 1.5"
    needs = (("n", 2), ("unique", 2))
    parameters = (
        coefficient("N_c"),
        coefficient("D_c"),
        exponent("alpha_N", (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5)),
        exponent("alpha_D", (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5)),
    )

    def log_loss(self, at: Array, points: Points) -> Array:
        n_c, d_c, alpha_n, alpha_d = columns(at)
        of_n = alpha_n / alpha_d * (n_c - points.log_n)
        return alpha_d * log_sum(of_n, d_c - points.log_unique)

    def log_terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        of_n = -at["alpha_N"] / at["alpha_D"] * points.log_n
        return np.stack([of_n, -points.log_unique]), points.log_loss / at["alpha_D"]

    def from_terms(
        self, logs: dict[str, float], at: dict[str, float], points: Points
    ) -> dict[str, float]:
        return logs | {"N_c": logs["N_c"] * at["alpha_D"] / at["alpha_N"]}


class DataConstrained(Law):
    """Chinchilla's law of what repeated tokens and spare parameters are still worth.

    Muennighoff et al. 2023 (arXiv 2305.16264), their equations 4 to 6: a token seen again, R - 1
    times, is worth less by an exponential with the constant R_D_star, and so is a parameter beyond
    those that are best for U tokens, with R_N_star.
    """

    name = "data_constrained"
    formula = (
        "E + A/N'^alpha + B/D'^beta, D' = U + U R_D_star (1 - exp(-(R - 1)/R_D_star)), and N' so "
        "of N beyond the best for U"
    )
    source = "Muennighoff et al. 2023, arXiv 2305.16264"
    of_repeats = True
    needs = (("n", 3), ("tokens", 3), ("repeats", 1))
    parameters = (
        *Chinchilla.parameters[:3],
        exponent("alpha", FEW),
        exponent("beta", FEW),
        Parameter("R_D_star", 1e-2, 1e4, is_log=True, grid=(3.0, 15.0, 60.0)),
        Parameter("R_N_star", 1e-2, 1e4, is_log=True, grid=(5.0,)),
    )

    def log_loss(self, at: Array, points: Points) -> Array:
        e, a, b, alpha, beta, r_d, r_n = columns(at)
        # The best N for U of Chinchilla's frontier: A alpha / N^alpha = B beta / U^beta.
        best = (a + np.log(alpha) - b - np.log(beta) + beta * points.log_unique) / alpha
        best = np.clip(best, points.log_n - FAR, points.log_n)
        spare = np.exp(points.log_n - best) - 1
        log_n = best + np.log1p(decayed(spare, r_n))
        log_d = points.log_unique + np.log1p(decayed(points.epochs - 1, r_d))
        return log_sum(e, a - alpha * log_n, b - beta * log_d)

    def log_terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        worth = np.log1p(decayed(points.epochs - 1, np.log(at["R_D_star"])))
        of_n, of_tokens = -at["alpha"] * points.log_n, -at["beta"] * (points.log_unique + worth)
        return np.stack([np.zeros(len(points)), of_n, of_tokens]), points.log_loss


def decayed(times: Array, log_constant: Array) -> Array:
    """What so many repeats are worth, in times of the first; the constant is the most."""
    constant = np.exp(log_constant)
    return constant * -np.expm1(-times / constant)


class Overfitting(Law):
    """Chinchilla's law and a penalty for parameters that learn a text by heart as it is repeated.

    Lovelace et al. 2026 (arXiv 2605.01640, "Prescriptive Scaling Laws for Data Constrained
    Training"). Their R are repeats, R - 1 here: a text that is seen once has no penalty.
    """

    name = "overfitting"
    formula = "E + A/N^alpha + B/T^beta + P (R - 1)^delta (N/U)^kappa"
    source = "Lovelace et al. 2026, arXiv 2605.01640"
    of_repeats = True
    needs = (("n", 3), ("tokens", 3), ("repeats", 2))
    parameters = (
        *Chinchilla.parameters[:3],
        coefficient("P"),
        exponent("alpha", FEW),
        exponent("beta", FEW),
        exponent("delta", (0.3, 0.7, 1.0, 1.5)),
        exponent("kappa", (0.3, 0.7, 1.0, 1.5)),
    )

    def log_loss(self, at: Array, points: Points) -> Array:
        e, a, b, p, alpha, beta, delta, kappa = columns(at)
        penalty = p + delta * points.log_repeats + kappa * (points.log_n - points.log_unique)
        return log_sum(e, a - alpha * points.log_n, b - beta * points.log_tokens, penalty)

    def log_terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        of_n, of_tokens = -at["alpha"] * points.log_n, -at["beta"] * points.log_tokens
        spare = at["kappa"] * (points.log_n - points.log_unique)
        penalty = at["delta"] * points.log_repeats + spare
        return np.stack([np.zeros(len(points)), of_n, of_tokens, penalty]), points.log_loss


class Bounded(Law):
    """A loss between a limit and that of a model which knows nothing.

    Bryant and Liu 2026 (arXiv 2605.09189, "Practical Scaling Laws"); their D is U here. They fix L0
    by the kind of the loss; here it is fitted, since a table tells no vocabulary, and models that
    learned something seldom tell it.
    """

    name = "bounded"
    formula = "E + (L0 - E) h/(1 + h), h = a/N^alpha + b/T^beta + c N^gamma/U^delta"
    source = "Bryant and Liu 2026, arXiv 2605.09189"
    of_repeats = True
    needs = (("n", 3), ("tokens", 3), ("repeats", 1))
    parameters = (
        Parameter("E", 1e-3, 1e3, True, grid=(0.3, 0.6, 0.9), vague=3.0),  # by the lowest loss
        Parameter("L0", 1e-3, 1e3, True, grid=(1.1, 1.5, 3.0), vague=3.0),  # by the highest
        coefficient("a"),
        coefficient("b"),
        coefficient("c"),
        exponent("alpha", (0.2, 0.4, 0.8)),
        exponent("beta", (0.2, 0.4, 0.8)),
        exponent("gamma", (0.3, 0.8)),
        exponent("delta", (0.5, 1.0)),
    )

    def log_loss(self, at: Array, points: Points) -> Array:
        e, top, a, b, c, alpha, beta, gamma, delta = columns(at)
        of_n, of_tokens = a - alpha * points.log_n, b - beta * points.log_tokens
        log_h = log_sum(of_n, of_tokens, c + gamma * points.log_n - delta * points.log_unique)
        return log_sum(e - log_h, top) - log_sum(-log_h, np.zeros_like(log_h))

    def log_terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        low, high = at["E"] * points.loss.min(), at["L0"] * points.loss.max()
        of_n, of_tokens = -at["alpha"] * points.log_n, -at["beta"] * points.log_tokens
        penalty = at["gamma"] * points.log_n - at["delta"] * points.log_unique
        share = np.log(points.loss - low) - np.log(high - points.loss)
        return np.stack([of_n, of_tokens, penalty]), share

    def from_terms(
        self, logs: dict[str, float], at: dict[str, float], points: Points
    ) -> dict[str, float]:
        low, high = np.log(at["E"] * points.loss.min()), np.log(at["L0"] * points.loss.max())
        return logs | {"E": low, "L0": high}


LAWS: dict[str, Law] = {
    law.name: law for law in (Chinchilla(), Kaplan(), DataConstrained(), Overfitting(), Bounded())
}
