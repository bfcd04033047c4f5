"""The task function that Hydra calls for each cell."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from peft_study.cell.attempt import Outcome, run_cell
from peft_study.cell.endings import classify
from peft_study.cell.process import RunOptions
from peft_study.config.compose import register, to_cell
from peft_study.config.naming import folder_of
from peft_study.console.exit import EXIT_FAILED, EXIT_USER_ERROR
from peft_study.console.messages import print_error
from peft_study.errors import UserError
from peft_study.results.schema import Status


class Command:
    """The task function. It returns the outcome of a cell, because launchers may call it in other processes.

    Args:
        show_traceback: print the frames of an error, which otherwise are in log.txt only.
        in_worker: whether this is a copy in a process that a launcher started.

    Attributes:
        outcomes: the outcome of a single cell, or those that the sweeper collected from its cells.
        cells: number of cells in the sweep; None for a single cell.
        problem: what went wrong with the sweep as a whole; None if nothing did.
    """

    def __init__(self, *, show_traceback: bool, in_worker: bool = False) -> None:
        self.show_traceback = show_traceback
        self.in_worker = in_worker
        self.outcomes: list[Outcome] = []
        self.cells: int | None = None
        self.problem: UserError | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # What a copy in a worker collects would be lost, so the copy starts empty.
        return (_command_in_worker, (self.show_traceback,))

    def __call__(self, config: DictConfig) -> Outcome:
        """Run one composed cell.

        Raises:
            UserError: the study has no cells.
            KeyboardInterrupt: after an interrupt of the process that the user started.
        """
        # Hydra numbers the jobs of a sweep, and only those.
        sweep = not OmegaConf.is_missing(HydraConfig.get().job, "num")
        study = HydraConfig.get().runtime.choices.get("study")
        if study and not sweep:
            what = f"+study must name a study with cells, got {study}"
            raise UserError(what, where=f"+study={study}", hint="add blocks or includes to its YAML")
        outcome = self._run(config, sweep=sweep)
        if not sweep:
            self.outcomes.append(outcome)
        return outcome

    def _run(self, config: DictConfig, *, sweep: bool) -> Outcome:
        try:
            cell = to_cell(config)
            path = folder_of(cell)
        except UserError as error:
            # Reported and not raised, because an exception here would end the whole sweep.
            print_error(error)
            return Outcome("a cell without a name", Status.infeasible, error.what, EXIT_USER_ERROR)
        try:
            return run_cell(cell, path, RunOptions(sweep=sweep, show_traceback=self.show_traceback))
        except KeyboardInterrupt as interrupt:
            if not self.in_worker:
                raise
            # A signal to one worker ends its cell; the other cells of the sweep continue.
            return Outcome(path.name, *classify(interrupt), EXIT_FAILED, path)


def _command_in_worker(show_traceback: bool) -> Command:
    """Rebuild a command that a launcher sent to another process. That process needs the config's resolvers."""
    register()
    return Command(show_traceback=show_traceback, in_worker=True)
