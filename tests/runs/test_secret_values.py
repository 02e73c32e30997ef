from mcl.runs.secret_values import without_secrets


def test_secrets_are_hidden() -> None:
    plain = {"api_key": "a", "keys": ["b"], "env": {"MY_TOKEN": "${oc.env:T}"}, "o": ["x.password=c", "lr=1"], "n": 1}
    hidden = {"api_key": "***", "keys": ["b"], "env": {"MY_TOKEN": "${oc.env:T}"}, "o": ["x.password=***", "lr=1"]}
    assert without_secrets(plain) == hidden | {"n": 1}
    assert without_secrets({"uri": "postgresql://me:pass@host/db"}) == {"uri": "postgresql://me:***@host/db"}
    assert without_secrets(["t.uri=http://me:p=w@host:5000", "u=http://host:80/a@b"]) == [
        "t.uri=http://me:***@host:5000",
        "u=http://host:80/a@b",
    ]
    typed = ["dataset.root=/photos/tokens", "+mine={token: a}"]
    assert without_secrets(typed) == ["dataset.root=/photos/tokens", "+mine=***"]
