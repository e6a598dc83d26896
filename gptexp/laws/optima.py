"""All laws of what is best that observations tell, and whether they hold."""

from collections.abc import Collection

from gptexp.laws.isoflop import NAME as ISOFLOP
from gptexp.laws.isoflop import isoflop
from gptexp.laws.observed import Observations, Rejections
from gptexp.laws.power_law import LawOfOptima, NoLaw
from gptexp.laws.step_law import NAME as STEP_LAW
from gptexp.laws.step_law import step_law

OPTIMA = (ISOFLOP, STEP_LAW)


def laws_of_optima(
    observed: Observations, names: Collection[str] | None = None, seed: int = 0
) -> list[LawOfOptima | NoLaw]:
    """The laws of these names; of None, those that can be fitted."""
    laws: list[LawOfOptima | NoLaw] = []
    if names is None or ISOFLOP in names:
        laws.append(isoflop(observed.points, observed.flops, seed=seed))
    if names is None or STEP_LAW in names:
        if observed.trials is None:
            laws.append(NoLaw(STEP_LAW, "no two learning rates are known", Rejections()))
        else:
            laws.append(step_law(observed.trials, seed=seed))
    return [law for law in laws if names is not None or isinstance(law, LawOfOptima)]
