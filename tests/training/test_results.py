"""The kinds of accuracy in the results."""

from mcl.training.results import Results


def evaluation(first: float, second: float, stage: float = 0.0, aggregated: float = 0.0) -> dict[str, float]:
    metrics = {"ensemble/top1": first + 1, "ensemble/top5": 99.0}
    for key, top1 in (("first", first), ("second", second)):
        metrics |= {f"{key}/backbone/top1": top1, f"{key}/backbone/top5": 90.0}
        metrics |= {f"{key}/stage1/top1": stage, f"{key}/aggregated/top1": aggregated}
    return metrics


NETWORKS = [("first", "resnet8"), ("second", "resnet20")]


def test_last_best_and_best_head_are_kept_apart() -> None:
    results = Results(NETWORKS, chosen_on="test")
    results.add(1, {"test": evaluation(50, 40)})
    results.add(2, {"test": evaluation(60, 35, stage=70)})
    results.add(3, {"test": evaluation(55, 30, aggregated=99)})
    summary = results.summary()
    first, second = summary["networks"]
    assert (first["name"], first["top1_last"], first["top1_best"], first["best_epoch"]) == ("resnet8", 55, 60, 2)
    assert (second["top1_last"], second["top1_best"], second["best_epoch"]) == (30, 40, 1)
    assert first["top1_max_over_heads"] == 70, "a stage head counts, the aggregated logits do not"
    assert summary["top1_max_over_run"] == 70
    assert summary["ensemble"]["top1_last"] == 56
    assert summary["best_epoch_chosen_on"] == "test"


def test_validation_split_chooses_the_epoch_and_test_split_is_only_reported() -> None:
    results = Results(NETWORKS, chosen_on="validation")
    results.add(1, {"test": evaluation(50, 50), "validation": evaluation(80, 80)})
    results.add(2, {"test": evaluation(90, 90), "validation": evaluation(70, 70)})
    first = results.summary()["networks"][0]
    assert (first["best_epoch"], first["top1_best"], first["top1_last"]) == (1, 50, 90)


def test_calibration_is_that_of_the_last_evaluation_if_it_was_measured() -> None:
    results = Results(NETWORKS, chosen_on="test")
    results.add(1, {"test": evaluation(50, 50)}, {"first/backbone": 4.0, "second/backbone": 5.0, "ensemble": 2.0})
    assert [network["ece_last"] for network in results.summary()["networks"]] == [4.0, 5.0]
    assert results.summary()["ensemble"]["ece_last"] == 2.0
    results.add(2, {"test": evaluation(50, 50)})
    assert [network["ece_last"] for network in results.summary()["networks"]] == [None, None]


def test_first_of_equal_epochs_is_the_best() -> None:
    results = Results(NETWORKS, chosen_on="test")
    for epoch in (1, 2):
        results.add(epoch, {"test": evaluation(50, 50)})
    assert results.summary()["networks"][0]["best_epoch"] == 1


def test_results_survive_a_checkpoint() -> None:
    results = Results(NETWORKS, chosen_on="test")
    results.add(1, {"test": evaluation(50, 40)}, {"ensemble": 2.0})
    again = Results(NETWORKS, chosen_on="test")
    again.load_state_dict(results.state_dict())
    assert again.summary() == results.summary()
    older = {key: value for key, value in results.state_dict().items() if key != "calibration"}
    again.load_state_dict(older)
    assert again.summary()["ensemble"]["ece_last"] is None
    for one in (results, again):
        one.add(2, {"test": evaluation(45, 45)})
    assert again.summary() == results.summary()


def test_best_epoch_that_another_split_has_chosen_does_not_count() -> None:
    results = Results(NETWORKS, chosen_on="test")
    results.add(1, {"test": evaluation(50, 40)})
    forced = Results(NETWORKS, chosen_on="validation")
    forced.load_state_dict(results.state_dict())
    assert forced.summary()["networks"][0]["validation_top1_best"] is None
    assert forced.add(2, {"test": evaluation(45, 45), "validation": evaluation(12, 13)}) == ["first", "second"]
    first, second = forced.summary()["networks"]
    assert (first["best_epoch"], first["validation_top1_best"], first["top1_best"]) == (2, 12, 45)
    assert second["validation_top1_best"] == 13
