"""Working with pytrees: mapping, paths, transposes, nodes of one's own."""
import tracejit as jax
import tracejit.numpy as jnp


@jax.tree_util.register_pytree_node_class
class RegisteredSpecial:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def tree_flatten(self):
        return (self.x,), self.y

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls(children[0], aux)

    def __repr__(self):
        return f"RegisteredSpecial(x={self.x}, y={self.y})"


def main():
    examples = [[1, "a", object()], (1, (2, 3), ()), [1, {"k1": 2, "k2": (3, 4)}, 5], {"a": 2, "b": (2, 3)},
                jnp.array([1, 2, 3])]
    for tree in examples:
        print(len(jax.tree.leaves(tree)), "leaves")
    lists = [[1, 2, 3], [1, 2], [1, 2, 3, 4]]
    print(jax.tree.map(lambda x: x * 2, lists), jax.tree.map(lambda x, y: x + y, lists, lists))
    print(jax.tree.map(lambda x: x + 1, RegisteredSpecial([0, 1], "name")))
    print(jax.tree.structure({"b": (1, [2, None]), "a": 3}))

    flattened, _ = jax.tree_util.tree_flatten_with_path([1, {"k1": 2, "k2": (3, 4)}])
    print({jax.tree_util.keystr(path): value for path, value in flattened})

    episodes = [{"t": 1, "obs": 3}, {"t": 2, "obs": 4}]
    print(jax.tree.transpose(jax.tree.structure([0, 0]), jax.tree.structure({"t": 0, "obs": 0}), episodes))
    print(jax.tree.reduce(lambda a, b: a + b, {"a": 1, "b": (2, 3)}), jax.tree.all((True, {"x": True})))

    params = {"w": jnp.ones((2, 3)), "b": jnp.zeros(3), "scale": None}
    print(jax.tree.map(jnp.shape, params), jax.tree.map(jnp.shape, params, is_leaf=lambda x: x is None and False))
    print(jax.grad(lambda p: jnp.sum((jnp.ones(2) @ p["w"] + p["b"]) ** 2))(params)["b"])


if __name__ == "__main__":
    main()
