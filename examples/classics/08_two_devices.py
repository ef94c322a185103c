"""A product on each of two devices, their sum on a third; with fewer devices some do double duty."""
import numpy as np

import tracejit as tj
import tracejit.numpy as jnp


def main():
    devices = tj.devices()
    first, second, third = (devices[i % len(devices)] for i in range(3))
    a = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    b = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    products = [jnp.dot(tj.device_put(a, d), tj.device_put(b, d)) for d in (first, second)]
    total = sum(tj.device_put(p, third) for p in products)
    print(total, "on", third)
    return {"total": np.asarray(total).tolist(), "devices": len(devices)}


if __name__ == "__main__":
    main()
