"""Tasks that others use, in their own harness: TwoRoom and Push-T of the package ``stable-worldmodel``.

Nothing here is needed by the rest. ``environment`` makes a virtual environment of its own for the package; in it run
``record`` (episodes by the package's own scripted policies, for its evaluation and for our training) and ``evaluate``
(the package's own ``world.evaluate`` on plans by a checkpoint, beside nothing, random, what was recorded, and two
oracles). Training needs no package of theirs: ``train`` runs where ``lamdemo`` does.

    python -m benchmarks.peers_tasks.environment ELSEWHERE/venv
    ELSEWHERE/venv/bin/python -m benchmarks.peers_tasks.record tworoom --episodes 200 --seed 2000 --out ELSEWHERE/train1
    ELSEWHERE/venv/bin/python -m benchmarks.peers_tasks.record tworoom --episodes 60 --seed 3000 --noise 3 \
        --out ELSEWHERE/train3
    ELSEWHERE/venv/bin/python -m benchmarks.peers_tasks.record tworoom --episodes 70 --seed 5000 --out ELSEWHERE/test1
    python -m benchmarks.peers_tasks.train --episodes ELSEWHERE/train1/episodes --episodes ELSEWHERE/train3/episodes \
        --labelled 30 --steps 900 --out ELSEWHERE/runs
    ELSEWHERE/venv/bin/python -m benchmarks.peers_tasks.evaluate tworoom --recorded ELSEWHERE/test1 --regions 4 2 \
        --checkpoint ELSEWHERE/runs/checkpoint --out benchmarks/peers_tasks/tworoom.json
"""
