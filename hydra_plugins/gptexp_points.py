"""The sweepers of `python run.py -m`. Hydra finds it here: plugins live in this namespace alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import DictConfig

from gptexp.config import Config, grid, hydra_errors
from gptexp.errors import ConfigError, GptexpError, Problem
from gptexp.runs.state import Outcome

if TYPE_CHECKING:
    from gptexp.sweep.points import SweepPoint


class PointsSweeper(BasicSweeper):  # type: ignore[misc]  # Hydra is untyped to mypy
    """Hydra's grid, but all of its points are looked at first, and what is over starts no job."""

    def sweep(self, arguments: list[str]) -> NoReturn:
        """Ends the process by SystemExit, since hydra.main() hands nothing of a sweep back."""
        from gptexp.sweep.points import points_of
        from gptexp.sweep.run import run_sweep

        assert self.hydra_context is not None and self.config is not None
        most: object = self.max_batch_size  # whatever was typed
        if type(most) not in (int, type(None)) or (self.max_batch_size or 0) < 0:
            key, what = "hydra.sweeper.max_batch_size", f"{most} is no number of points"
            raise ConfigError(Problem(key, what, f"{key}=8, or null for all at once"))
        loader = self.hydra_context.config_loader
        overrides = grid.grid(loader, self.params, arguments)
        configs = grid.configs(loader, self.config, overrides)
        points = points_of(zip(overrides, configs, strict=True))
        if isinstance(self.launcher, BasicLauncher):
            raise SystemExit(run_sweep(points, None, 1))
        raise SystemExit(run_sweep(points, self.launch, self.max_batch_size or len(points)))

    def launch(self, points: "Sequence[SweepPoint]", first: int) -> Sequence[Outcome | None]:
        """Have the launcher train points in processes of its own.

        Raises GptexpError where it gives up, as when one of its workers is killed.
        """
        assert self.launcher is not None
        try:
            jobs = [point.job() for point in points]
            returned = self.launcher.launch(jobs, initial_job_idx=first)
        except Exception as error:
            if hydra_errors.is_config_error(error):
                raise
            what = str(error).partition("\n")[0]
            what = f"{type(error).__name__}: {what}"
            raise GptexpError(
                Problem("hydra/launcher", what, "the same command goes on")
            ) from error
        return [job.return_value for job in returned]


class SearchSweeper(PointsSweeper):
    """A search by Optuna: each point is chosen by what came of those before."""

    def __init__(self, params: DictConfig | None, **settings: Any) -> None:
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> NoReturn:
        """Ends the process as a grid does."""
        from gptexp.config.search import require_optuna, search_settings, space
        from gptexp.sweep.search import run_search

        assert self.hydra_context is not None and self.config is not None
        require_optuna()
        settings = search_settings(self.config.hydra.sweeper)
        loader, master = self.hydra_context.config_loader, self.config

        def compose(points: list[list[str]]) -> list[Config | ConfigError]:
            return list(grid.configs(loader, master, points))

        launch = None if isinstance(self.launcher, BasicLauncher) else self.launch
        searched = space(loader, self.params, arguments)
        raise SystemExit(run_search(settings, searched, compose, launch))
