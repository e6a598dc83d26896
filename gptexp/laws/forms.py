"""The laws that can be fitted. N are parameters, T tokens seen, U unique tokens, R = T / U epochs.

Where tokens are not seen twice, T is the D of the papers.
"""

import numpy as np

from gptexp.laws.law import Law, Parameter, coefficient, exponent
from gptexp.laws.points import Array, Points

FEW = (0.2, 0.35, 0.5, 0.8)  # values of an exponent to begin at, where a law has many


def log_sum(*logs: Array) -> Array:
    """The logarithm of a sum of exponentials; of complex logarithms too, which numpy refuses."""
    largest = np.max(np.stack([np.real(x) for x in np.broadcast_arrays(*logs)]), axis=0)
    return largest + np.log(sum(np.exp(x - largest) for x in logs))


def columns(at: Array) -> tuple[Array, ...]:
    """Coordinates [..., parameter] by parameter, each [..., 1], to go with rows."""
    return tuple(at[..., i, None] for i in range(at.shape[-1]))


class Chinchilla(Law):
    """A limit, and what a model and a text are short of: Hoffmann et al. 2022 (arXiv 2203.15556).

    Their approach 3; fitted anew by Besiroglu et al. 2024 (arXiv 2404.10102).
    """

    name = "chinchilla"
    formula = "E + A/N^alpha + B/T^beta"
    source = "Hoffmann et al. 2022, arXiv 2203.15556"
    parameters = (
        coefficient("E"),
        coefficient("A"),
        coefficient("B"),
        exponent("alpha"),
        exponent("beta"),
    )

    def log_loss(self, at: Array, points: Points) -> Array:
        e, a, b, alpha, beta = columns(at)
        return log_sum(e, a - alpha * points.log_n, b - beta * points.log_tokens)

    def terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        of_n, of_tokens = points.n ** -at["alpha"], points.tokens ** -at["beta"]
        return np.stack([np.ones(len(points)), of_n, of_tokens]), points.loss


class Kaplan(Law):
    """A loss without a limit, of whichever is short: Kaplan et al. 2020 (arXiv 2001.08361), 1.5."""

    name = "kaplan"
    formula = "((N_c/N)^(alpha_N/alpha_D) + D_c/T)^alpha_D"
    source = "Kaplan et al. 2020, arXiv 2001.08361, equation 1.5"
    parameters = (
        coefficient("N_c"),
        coefficient("D_c"),
        exponent("alpha_N", (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5)),
        exponent("alpha_D", (0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.5)),
    )

    def log_loss(self, at: Array, points: Points) -> Array:
        n_c, d_c, alpha_n, alpha_d = columns(at)
        of_n = alpha_n / alpha_d * (n_c - points.log_n)
        return alpha_d * log_sum(of_n, d_c - points.log_tokens)

    def terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        ratio = at["alpha_N"] / at["alpha_D"]
        return np.stack([points.n**-ratio, 1 / points.tokens]), points.loss ** (1 / at["alpha_D"])

    def from_terms(self, values: dict[str, float], points: Points) -> dict[str, float]:
        return values | {"N_c": values["N_c"] ** (values["alpha_D"] / values["alpha_N"])}


class DataConstrained(Law):
    """Chinchilla's law of what repeated tokens and spare parameters are still worth.

    Muennighoff et al. 2023 (arXiv 2305.16264), equations 5 and 6: a token seen again is worth less
    by an exponential with the constant R_D_star, and so is a parameter beyond those that are best
    for the unique tokens, with R_N_star.
    """

    name = "data_constrained"
    formula = (
        "E + A/N'^alpha + B/D'^beta, D' = U + U R_D_star (1 - exp(-(R - 1)/R_D_star)), and N' so "
        "of N beyond the best for U"
    )
    source = "Muennighoff et al. 2023, arXiv 2305.16264"
    of_repeats = True
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
        best = np.where(best.real < points.log_n, best, points.log_n)
        spare = np.exp(points.log_n - best) - 1
        log_n = best + np.log1p(decayed(spare, r_n))
        log_d = points.log_unique + np.log1p(decayed(points.epochs - 1, r_d))
        return log_sum(e, a - alpha * log_n, b - beta * log_d)

    def terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        worth = points.unique * (1 + decayed(points.epochs - 1, np.log(at["R_D_star"])))
        of_n, of_tokens = points.n ** -at["alpha"], worth ** -at["beta"]
        return np.stack([np.ones(len(points)), of_n, of_tokens]), points.loss


def decayed(times: Array, log_constant: Array) -> Array:
    """What so many repeats are worth, in times of the first; the constant is the most."""
    constant = np.exp(log_constant)
    return constant * -np.expm1(-times / constant)


class Overfitting(Law):
    """Chinchilla's law and a penalty for parameters that learn a text by heart over its epochs.

    Lovelace et al. 2026 (arXiv 2605.01640).
    """

    name = "overfitting"
    formula = "E + A/N^alpha + B/T^beta + P R^delta (N/U)^kappa"
    source = "Lovelace et al. 2026, arXiv 2605.01640"
    of_repeats = True
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
        penalty = p + delta * np.log(points.epochs) + kappa * (points.log_n - points.log_unique)
        return log_sum(e, a - alpha * points.log_n, b - beta * points.log_tokens, penalty)

    def terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        of_n, of_tokens = points.n ** -at["alpha"], points.tokens ** -at["beta"]
        penalty = points.epochs ** at["delta"] * (points.n / points.unique) ** at["kappa"]
        return np.stack([np.ones(len(points)), of_n, of_tokens, penalty]), points.loss


class Bounded(Law):
    """A loss between a limit and that of a model which knows nothing (arXiv 2605.09189)."""

    name = "bounded"
    formula = "E + (L0 - E) h/(1 + h), h = a/N^alpha + b/T^beta + c N^gamma/U^delta"
    source = "arXiv 2605.09189"
    of_repeats = True
    parameters = (
        Parameter("E", 1e-6, 1e3, is_log=True, grid=(0.3, 0.6, 0.9)),  # by the lowest loss
        Parameter("L0", 1e-6, 1e6, is_log=True, grid=(1.1, 1.5, 3.0)),  # by the highest
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

    def terms(self, at: dict[str, float], points: Points) -> tuple[Array, Array]:
        low, high = at["E"] * points.loss.min(), at["L0"] * points.loss.max()
        of_n, of_tokens = points.n ** -at["alpha"], points.tokens ** -at["beta"]
        penalty = points.n ** at["gamma"] / points.unique ** at["delta"]
        return np.stack([of_n, of_tokens, penalty]), (points.loss - low) / (high - points.loss)

    def from_terms(self, values: dict[str, float], points: Points) -> dict[str, float]:
        low, high = values["E"] * points.loss.min(), values["L0"] * points.loss.max()
        return values | {"E": low, "L0": high}


LAWS: dict[str, Law] = {
    law.name: law for law in (Chinchilla(), Kaplan(), DataConstrained(), Overfitting(), Bounded())
}


def suited(points: Points) -> list[Law]:
    """The laws to fit to the points: those of repeats only where tokens were seen again."""
    repeats = bool((points.tokens > points.unique).any())
    return [law for law in LAWS.values() if repeats or not law.of_repeats]
