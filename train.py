"""Train a cohort of networks that teach each other: ``python train.py --help`` lists the choices."""

from mcl.signals import catch_stop_signals

if __name__ == "__main__":
    catch_stop_signals()  # before the other imports, which take seconds

from omegaconf import DictConfig

from mcl.config.entry import main


@main("train")
def train(config: DictConfig) -> float | None:
    """Run a configuration, resume it, or report its result if it is finished.

    Returns:
        The ``objective`` in percent, which a search maximises; None without a validation split.
    """
    # Imported here so that a wrong configuration, or the result of a finished run, does not wait for torch.
    from mcl.training.finished import finished_summary, report

    if (summary := finished_summary(config)) is not None:
        return report(summary, config)

    from mcl.deploy.export import export_best
    from mcl.training.run import Run
    from mcl.training.setup import assemble

    with Run(config) as run:
        if not run.finished:
            parts = assemble(config)
            run.announce(parts)
            run.fit(parts, parts.dataset.load())
            run.finish(export_best(run.path, config) if run.processes.first else ())
        return run.report()


if __name__ == "__main__":
    train()
