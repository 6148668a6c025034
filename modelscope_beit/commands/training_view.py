"""Trains, or tells what training would take, and shows the result; shared by `train` and `resume`."""

from modelscope_beit import names
from modelscope_beit.commands.facts_view import print_facts
from modelscope_beit.training.dry_run import RunEstimate, estimate_run
from modelscope_beit.training.estimate import duration_in_words
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.processes import is_main_process
from modelscope_beit.training.recipe_words import recipe_in_words
from modelscope_beit.training.run_evaluation import report_on_run

INTERRUPTED = 130  # 128 + SIGINT, as shells count.


def train_and_tell(job: TrainingJob, *, is_dry_run: bool) -> int:
    """Trains and returns 0, or 130 after an interruption; the log of the run goes to stderr, the result to stdout.

    is_dry_run: a few steps are tried, nothing is written, and what the whole run takes is printed.
    """
    if is_dry_run:
        estimate = estimate_run(job)
        if is_main_process():
            _print_estimate(job, estimate)
        return 0
    result = finetune(job)
    if result.was_interrupted:
        return INTERRUPTED
    report = report_on_run(job)
    if is_main_process():
        facts = {"Run": str(job.work_dir)}
        if report is not None:
            facts["Result"] = ", ".join(f"{name} {value}" for name, value in report.in_words().items())
            facts["Report"] = str(report.page)
        if result.stopped_early:
            facts["Length"] = result.stopped_early
        if result.output is not None:
            facts["Model"] = str(result.output)
            facts["Use it"] = f"{names.COMMAND} predict {result.output} PICTURE..."
        print_facts(f"Trained for {result.epochs} epochs, {result.iterations:,} iterations.", facts)
    return 0


def _print_estimate(job: TrainingJob, estimate: RunEstimate) -> None:
    recipe = recipe_in_words(job.recipe, precision=estimate.precision, num_processes=estimate.num_processes)
    print_facts("The recipe", recipe)
    per_step = duration_in_words(estimate.time.seconds_per_iteration)
    facts = {
        "Processes": f"{estimate.num_processes} on {estimate.device}",
        "Iterations": f"{estimate.iterations:,}, {estimate.iterations_per_epoch:,} an epoch",
        "Optimizer steps": f"{estimate.steps:,}, {per_step} each",
        "Training time": f"{estimate.time.in_words()}, without validation",
        **{f"Memory, {name}": size for name, size in estimate.memory.in_words().items()},
    }
    print_facts("What it takes", facts)
