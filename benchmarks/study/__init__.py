"""The studies of docs/study.md: sweeps trained point by point, a line of results for each.

`__main__` takes the command, `points` says what a study trains, `certify` with which learning rate,
`work` trains it, `lines` keeps what came of it, `listing` says how far it is; `page` writes the
tables of `modernise`, `regularise` and `flagship`, which read lines alone, as `laws` does.
"""
