"""A variational autoencoder with stax and the example optimizers, as in JAX's examples, on made-up binary images."""
import tracejit as jax
import tracejit.numpy as jnp
from tracejit import jit, lax, random
from tracejit.example_libraries import optimizers, stax
from tracejit.example_libraries.stax import Dense, FanOut, Relu, Softplus


def gaussian_kl(mu, sigmasq):
    return -0.5 * jnp.sum(1.0 + jnp.log(sigmasq) - mu**2.0 - sigmasq)


def gaussian_sample(rng, mu, sigmasq):
    return mu + jnp.sqrt(sigmasq) * random.normal(rng, mu.shape)


def bernoulli_logpdf(logits, x):
    return -jnp.sum(jnp.logaddexp(0.0, jnp.where(x, -1.0, 1.0) * logits))


encoder_init, encode = stax.serial(Dense(32), Relu, FanOut(2), stax.parallel(Dense(4), stax.serial(Dense(4), Softplus)))
decoder_init, decode = stax.serial(Dense(32), Relu, Dense(36))


def elbo(rng, params, images):
    enc_params, dec_params = params
    mu_z, sigmasq_z = encode(enc_params, images)
    logits_x = decode(dec_params, gaussian_sample(rng, mu_z, sigmasq_z))
    return bernoulli_logpdf(logits_x, images) - gaussian_kl(mu_z, sigmasq_z)


def main(steps=120, batch=32):
    enc_rng, dec_rng, data_rng, rng = random.split(random.PRNGKey(0), 4)
    _, enc_params = encoder_init(enc_rng, (batch, 36))
    _, dec_params = decoder_init(dec_rng, (batch, 4))
    kinds = random.bernoulli(data_rng, 0.4, (4, 36))
    opt_init, opt_update, get_params = optimizers.adam(3e-3)

    def binarized(i):
        which, noise = random.split(random.fold_in(data_rng, i))
        return kinds[random.randint(which, (batch,), 0, 4)] ^ random.bernoulli(noise, 0.03, (batch, 36))

    @jit
    def run(opt_state):
        def body(i, opt_state):
            loss = lambda params: -elbo(random.fold_in(rng, i), params, binarized(i)) / batch
            return opt_update(i, jax.grad(loss)(get_params(opt_state)), opt_state)
        return lax.fori_loop(0, steps, body, opt_state)

    @jit
    def evaluate(opt_state):
        return elbo(random.key(5), get_params(opt_state), binarized(1000)) / batch

    opt_state = opt_init((enc_params, dec_params))
    before = evaluate(opt_state)
    after = evaluate(run(opt_state))
    print(f"ELBO per image: {before:.2f} -> {after:.2f}")
    return before, after


if __name__ == "__main__":
    main()
