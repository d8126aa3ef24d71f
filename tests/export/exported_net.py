"""A small pair of a user's own, its port in every form that can be exported, for tests that write it into a folder."""

SOURCE = """
import torch

from parity import Pair, inputs
from parity.frameworks import keras, tf
from parity.pairs import Input


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, 5, 3, padding=1)
        self.down = torch.nn.Conv2d(5, 4, (3, 2), stride=2)

    def forward(self, image):
        return self.down(torch.nn.functional.leaky_relu(self.stem(image), 0.1))


def layers(library):
    stem = library.Conv2D(5, 3, padding="same", name="stem")
    return stem, library.LeakyReLU(0.1, name="leaky"), library.Conv2D(4, (3, 2), strides=2, name="down")


def functional():
    image = value = keras.Input((10, 6, 3), name="image")
    for layer in layers(keras.layers):
        value = layer(value)
    return keras.Model(image, value, name="net")


@keras.saving.register_keras_serializable("exported_net")
class Subclassed(keras.Model):
    def __init__(self, **config):
        super().__init__(name="net")
        self.stem, self.leaky, self.down = layers(keras.layers)

    def call(self, image):
        return self.down(self.leaky(self.stem(image)))


def of_tf_keras():
    import tf_keras

    image = value = tf_keras.Input((10, 6, 3), name="image")
    for layer in layers(tf_keras.layers):
        value = layer(value)
    return tf_keras.Model(image, value, name="net")


def function():
    weights = [each.detach().numpy() for each in Net().parameters()]
    weights = [tf.Variable(each.transpose(2, 3, 1, 0) if each.ndim == 4 else each) for each in weights]

    def run(image):
        stem = tf.nn.leaky_relu(tf.nn.conv2d(image, weights[0], 1, "SAME") + weights[1], 0.1)
        return tf.nn.conv2d(stem, weights[2], 2, "VALID") + weights[3]

    return run


def pair_of(port, transfer=True):
    given = inputs.noise((2, 3, 10, 6), seed=1, low=-1, high=1)
    return Pair(name="net", reference=Net().eval(), port=port, transfer=transfer, inputs=[given])


def net():
    return pair_of(functional())


def subclassed():
    return pair_of(Subclassed())


def in_tf_keras():
    return pair_of(of_tf_keras())


def as_function():
    return pair_of(function(), transfer=False)


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.stem = torch.nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, left, right):
        total = self.stem(left) + right
        return total, torch.nn.functional.leaky_relu(total, 0.1)


def two():
    left, right = keras.Input((10, 6, 3), name="left"), keras.Input((10, 6, 5), name="right")
    stem, leaky, _ = layers(keras.layers)
    total = keras.layers.Add(name="total")([stem(left), right])
    port = keras.Model([left, right], [total, leaky(total)], name="net")
    arrays = [inputs.noise((2, channels, 10, 6), seed=channels, low=-1, high=1).array for channels in (3, 5)]
    given = Input(name="noise", args=tuple(arrays))
    return Pair(name="two", reference=Two().eval(), port=port, transfer=True, inputs=[given])


def wrong():
    from parity.converters import transfer

    port = functional()
    transfer(Net(), port, {"stem": "stem", "down": "down"})
    port.get_layer("down").kernel.assign(port.get_layer("down").kernel * 1.01)
    return pair_of(port, transfer=False)
"""
