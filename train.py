"""Train a cohort of networks that teach each other: ``python train.py --help`` says what can be chosen."""

from omegaconf import DictConfig

from mcl.config.entry import main


@main("train")
def train(config: DictConfig) -> float | None:
    """Run what the configuration describes, go on with it, or tell what it found.

    Returns:
        The ``objective``, in percent: what a search maximises. None where there is no validation part.
    """
    # torch is imported only once the configuration holds.
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
