"""Tasks that others use, in their own harness: TwoRoom and Push-T of the package ``stable-worldmodel``.

Nothing here is needed by the rest. ``environment`` makes a virtual environment of its own for the package; in it run
``record`` (episodes by the package's own scripted policies, for its evaluation and for our training) and ``evaluate``
(the package's own ``world.evaluate`` on plans by a checkpoint, beside random, nothing and oracles). Training needs no
package of theirs: ``train`` runs where ``lamdemo`` does.

    python -m benchmarks.peers_tasks.environment ELSEWHERE/venv
    ELSEWHERE/venv/bin/python -m benchmarks.peers_tasks.record tworoom --episodes 200 --seed 0 --out ELSEWHERE/train
    ELSEWHERE/venv/bin/python -m benchmarks.peers_tasks.record tworoom --episodes 60 --seed 1 --out ELSEWHERE/test
    python -m benchmarks.peers_tasks.train --episodes ELSEWHERE/train/episodes --labelled 20 --out ELSEWHERE/runs
    ELSEWHERE/venv/bin/python -m benchmarks.peers_tasks.evaluate tworoom --recorded ELSEWHERE/test \
        --checkpoint ELSEWHERE/runs/checkpoint --out benchmarks/peers_tasks/tworoom.json
"""
