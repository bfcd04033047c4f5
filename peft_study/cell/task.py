"""The task function that Hydra calls for each cell."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from peft_study.cell.attempt import Outcome, RunOptions, classify, run_cell
from peft_study.config.compose import folder_of, register, to_cell
from peft_study.console.exit import EXIT_FAILED, EXIT_USER_ERROR
from peft_study.console.messages import print_error
from peft_study.errors import UserError
from peft_study.results.schema import Status


class Command:
    """What Hydra calls for each cell. The outcome is the job's return value, because launchers use other processes.

    Args:
        show_traceback: print the frames of an error, which otherwise stand in log.txt only.
        in_worker: this is a copy in a process that a launcher started.

    Attributes:
        outcomes: of a cell that ran alone. A sweeper puts those of its cells here.
        cells: of the sweep; None where there is no sweep.
        problem: what went wrong with a sweep as a whole.
    """

    def __init__(self, *, show_traceback: bool, in_worker: bool = False) -> None:
        self.show_traceback = show_traceback
        self.in_worker = in_worker
        self.outcomes: list[Outcome] = []
        self.cells: int | None = None
        self.problem: UserError | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return (_command_in_worker, (self.show_traceback,))

    def __call__(self, config: DictConfig) -> Outcome:
        """Run one composed cell.

        Raises:
            UserError: a study without cells.
            KeyboardInterrupt: after an interrupt of the process that the person started.
        """
        # Hydra numbers the jobs of a sweep, and only those.
        sweep = not OmegaConf.is_missing(HydraConfig.get().job, "num")
        study = HydraConfig.get().runtime.choices.get("study")
        if study and not sweep:
            raise UserError(
                f"study {study} has no cells", where=f"+study={study}", hint="its YAML needs blocks, or includes"
            )
        outcome = self._run(config, sweep=sweep)
        if not sweep:
            self.outcomes.append(outcome)
        return outcome

    def _run(self, config: DictConfig, *, sweep: bool) -> Outcome:
        try:
            cell = to_cell(config)
            path = folder_of(cell)
        except UserError as error:
            # Raised here, it would end the whole sweep.
            print_error(error)
            return Outcome("a cell without a name", Status.infeasible, error.what, EXIT_USER_ERROR)
        try:
            return run_cell(cell, path, RunOptions(sweep, self.show_traceback))
        except KeyboardInterrupt as interrupt:
            if not self.in_worker:
                raise
            # A signal to one worker ends its cell; the other cells of the sweep continue.
            return Outcome(path.name, *classify(interrupt), EXIT_FAILED, path)


def _command_in_worker(show_traceback: bool) -> Command:
    """Rebuild a command that a launcher sent to another process, which has to know the resolvers of the config."""
    register()
    return Command(show_traceback=show_traceback, in_worker=True)
