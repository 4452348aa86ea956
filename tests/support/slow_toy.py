"""A plug-in: the toy task, a step every half a second until the file that SWEEP_TEST_GO names exists. Same numbers."""

import os
import time

from sweep.tasks import task
from sweep.tasks.toy_classification import Toy


@task("slow_toy")
class SlowToy(Toy):
    summary = "the toy task, slowed down"

    def training_loss(self, model, inputs, target):
        go = os.environ.get("SWEEP_TEST_GO")
        if go and not os.path.exists(go):
            time.sleep(0.5)
        return super().training_loss(model, inputs, target)
