"""An erasure from request to certificate, on a tiny model; every claim is looked at from outside."""

from __future__ import annotations

import pytest

from amends.records import CaseStatus


def test_probe(story):
    import time
    t=time.time()
    case = story.request()
    print("request", time.time()-t, case.status)
    print(story.near(case))
    case = story.review(case)
    print(case.plan)
    print("app", story.approve(case), time.time()-t)
    case = story.carry(case)
    print(case, time.time()-t)
    print(story.versions())
    print(story.purge(), time.time()-t)
    print(story.versions())
    for n, s in story.steps(case.id).items(): print(n, s.get("step_seconds"))
