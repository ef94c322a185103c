"""The parameters of predator and prey, found from noisy counts by gradients through an adaptive ODE solver."""
import tracejit as jax
import tracejit.numpy as jnp
from tracejit import random
from tracejit.experimental.ode import odeint


def lotka_volterra(state, t, params):
    prey, predator = state
    growth, eaten, gain, death = params
    return jnp.stack([growth * prey - eaten * prey * predator, gain * prey * predator - death * predator])


def simulate(params, times):
    return odeint(lotka_volterra, jnp.array([2.0, 1.0]), times, params, rtol=1e-5, atol=1e-5)


def main(steps=60):
    times = jnp.linspace(0.0, 6.0, 25)
    truth = jnp.array([1.1, 0.5, 0.4, 0.8])
    counts = simulate(truth, times) + 0.02 * random.normal(random.key(0), (25, 2))

    @jax.jit
    def step(log_params, speed):
        loss = lambda p: jnp.mean((simulate(jnp.exp(p), times) - counts) ** 2)
        value, grad = jax.value_and_grad(loss)(log_params)
        speed = 0.8 * speed - 0.03 * grad / (jnp.linalg.norm(grad) + 0.3)
        return log_params + speed, speed, value

    log_params, speed = jnp.log(jnp.array([1.0, 0.6, 0.5, 1.0])), jnp.zeros(4)
    for i in range(steps + 1):
        log_params, speed, value = step(log_params, speed)
        if i % 20 == 0:
            print(f"step {i}: loss {value:.3f}")
    print("found", jnp.round(jnp.exp(log_params), 1))
    return jnp.exp(log_params)


if __name__ == "__main__":
    main()
