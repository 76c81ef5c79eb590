"""What `fit(class_weight=...)` says to masks: Keras makes weights of one label per picture of them."""

from typing import Any

from keras.src.trainers.data_adapters import data_adapter_utils, tf_dataset_adapter

_MEND = (
    "class_weight of fit is for one label per picture and knows no void: give class_weights to kseg.compile, "
    "or to the loss, for instance kseg.losses.CrossEntropy(class_weights=[1, 5])"
)


def name_class_weights() -> None:
    """Let Keras' data adapters name `class_weights` where masks meet `class_weight`, once.

    Where this version of Keras has other names, its own errors stay.
    """
    of_arrays = getattr(data_adapter_utils, "class_weight_to_sample_weights", None)
    of_dataset = getattr(tf_dataset_adapter, "make_class_weight_map_fn", None)
    if getattr(of_arrays, "names_class_weights", False) or of_arrays is None or of_dataset is None:
        return

    def for_arrays(y: Any, class_weight: Any) -> Any:
        if len(getattr(y, "shape", ())) > 2:  # arrays of masks, which Keras cannot take
            raise ValueError(_MEND)
        return of_arrays(y, class_weight)

    def for_dataset(class_weight: Any) -> Any:
        weigh = of_dataset(class_weight)

        def of_batch(*data: Any) -> Any:
            shape = tuple(getattr(data[1], "shape", ())) if len(data) > 1 else ()
            # of three axes the last one is taken for classes: one-hot rows, or the width of masks
            too_wide = len(shape) == 3 and (shape[-1] is None or shape[-1] > max(class_weight) + 1)
            if len(shape) > 3 or too_wide:
                raise ValueError(_MEND)
            return weigh(*data)

        return of_batch

    for_arrays.names_class_weights = True  # type: ignore[attr-defined]
    data_adapter_utils.class_weight_to_sample_weights = for_arrays
    tf_dataset_adapter.make_class_weight_map_fn = for_dataset
