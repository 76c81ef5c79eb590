"""Parameter counts of large models without their memory."""

import keras
import numpy as np
import pytest


@pytest.fixture
def count():
    """Return a function of a builder and its arguments: how many parameters learn, and how many there are."""

    def function(build, *args, **kwargs):
        with keras.StatelessScope(initialize_variables=False):  # variables get shapes, no values
            model = build(*args, **kwargs)
            learn = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
            return learn, model.count_params()

    yield function
    keras.utils.clear_session()  # forget the variables that wait for their values
