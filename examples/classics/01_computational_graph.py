"""The computational graph of y = a x^2 + b x + c: written once as a function, looked at, compiled, and run."""
import tracejit as tj


def y(x, a, b, c):
    return a * x * x + b * x + c


def main():
    print(tj.make_jaxpr(y)(5.0, 10.0, -5.0, 4.0))
    return {"y": float(tj.jit(y)(5.0, 10.0, -5.0, 4.0))}


if __name__ == "__main__":
    print(main())
