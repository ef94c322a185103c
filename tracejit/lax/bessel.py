"""Modified Bessel functions of the first kind, scaled by exp(-|x|), element by element."""
from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tracejit.ir.trace import bind
from tracejit.lax.compare import eq, select
from tracejit.lax.elementwise import Float, add, div, mul, sign, sub
from tracejit.lax.kinds import op_dataclass
from tracejit.lax.reference import in_f32, special
from tracejit.lax.series import polynomial

F32, F64 = np.dtype("float32"), np.dtype("float64")
# By working dtype: where the tail begins. By dtype and order: I(order, x) / x**order in x**2 below, and sqrt(x) times the
# scaled function in 1 / x above. Relative errors 2**-24 (Remez) and below 2**-55 (Chebyshev).
BORDERS = {F32: 8.0, F64: 12.0}
FITS = {
    (F32, 0): ((
        1.0, 0.25000006, 0.01562495, 0.00043404382, 6.779314e-06, 6.8004965e-08, 4.6235205e-10, 2.6341878e-12,
        5.8156304e-15, 5.7160794e-17,
    ), (
        0.3989423, 0.049869586, 0.027898796, 0.033785272, -0.013852112, 0.3879716,
    )),
    (F32, 1): ((
        0.5, 0.06250001, 0.0026041628, 5.4254575e-05, 6.7802165e-07, 5.6621032e-09, 3.3182908e-11, 1.61781e-13,
        3.5046684e-16, 2.7504016e-18,
    ), (
        0.3989423, -0.14960545, -0.04657577, -0.046156276, 0.009698416, -0.4523768,
    )),
    (F64, 0): ((
        1.0, 0.25, 0.015625, 0.0004340277777777773, 6.781684027777876e-06, 6.781684027776491e-08, 4.709502797079143e-10,
        2.4028075494551094e-12, 9.385966993466485e-15, 2.896903381379642e-17, 7.242258760519718e-20,
        1.4963338249511785e-22, 2.5978119210801306e-25, 3.842788307351993e-28, 4.9028024095982665e-31,
        5.437492301271392e-34, 5.37093671610817e-37, 4.367265718937277e-40, 4.304324064229968e-43,
        8.206315095298487e-47, 3.5901399675893516e-49,
    ), (
        0.3989422804014327, 0.04986778505018984, 0.0280506290768514, 0.029219412385815536, 0.0447403108699593,
        0.09091347904468278, 0.19497979118420464, 3.190373011022163, -132.3133703717709, 5347.6795837398995,
        -157331.24294312845, 3464143.223140837, -56601042.56048745, 675560999.1925102, -5706284968.012594,
        32208091168.752403, -108520870910.19533, 164348444211.71198,
    )),
    (F64, 1): ((
        0.5, 0.0625, 0.0026041666666666665, 5.425347222222221e-05, 6.781684027777799e-07, 5.651403356481198e-09,
        3.363930569336688e-11, 1.501754718437524e-13, 5.21442610642885e-16, 1.4484516936848325e-18,
        3.291935734504438e-21, 6.23472539452088e-24, 9.99156926611932e-27, 1.3724401679178696e-29,
        1.634138658583436e-32, 1.7000265089804627e-35, 1.575841886152801e-38, 1.226443305317528e-41,
        1.1010014938445778e-44, 2.5160959044806096e-48, 8.232715474016816e-51,
    ), (
        0.3989422804014327, -0.1496033551505487, -0.046751048469790335, -0.040907174952540884, -0.05752368200027645,
        -0.11106661295142206, -0.2344756985026327, -3.445859399180421, 139.8870622914849, -5654.9486570535255,
        166136.98262513676, -3653031.387312556, 59599815.296872795, -710260500.2921178, 5989743809.744142,
        -33751396940.574497, 113521964574.05305, -171609175650.0724,
    )),
}


def scaled_bessel(b, x, order: int):
    """exp(-|x|) I(order, x); the tail is skipped unless a lane needs it."""
    dtype = F64 if x.dtype == F64 else F32
    wide, border, (near, far) = b.convert(x, dtype), BORDERS[dtype], FITS[dtype, order]
    size = b.abs(wide)
    low = b.min(size, border)
    series = b.mul(polynomial(b, b.mul(low, low), near), b.exp(b.neg(low)))
    series = b.mul(series, low) if order else series

    def with_tail() -> list:
        inverse = b.div(1.0, b.max(size, border))
        return [b.select(b.gt(size, border), b.mul(polynomial(b, inverse, far), b.sqrt(inverse)), series)]
    out = b.cond(b.any(b.gt(size, border)), with_tail, lambda: [series])[0]
    return b.convert(b.copysign(out, wide) if order else out, x.dtype)


@op_dataclass
class BesselI0e(Float):
    """exp(-|x|) times the modified Bessel function of order 0."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 16

    def eval(self, x): return in_f32(special("i0e"), x)
    def scalar(self, b, x): return scaled_bessel(b, x, 0)
    def partials(self, out, x): return (sub(bessel_i1e(x), mul(sign(x), out)),)


def bessel_i0e(x: Any) -> Any: return bind(BesselI0e(), x)


@op_dataclass
class BesselI1e(Float):
    """exp(-|x|) times the modified Bessel function of order 1."""
    is_long: ClassVar[bool] = True
    ulp: ClassVar[float] = 16

    def eval(self, x): return np.copysign(in_f32(special("i1e"), x), x)  # SciPy loses the sign of -0

    def scalar(self, b, x): return scaled_bessel(b, x, 1)

    def partials(self, out, x):
        at_zero = eq(x, 0.0)
        safe = select(at_zero, 1.0, x)
        slope = sub(bessel_i0e(safe), mul(out, add(sign(safe), div(1.0, safe))))
        return (select(at_zero, 0.5, slope),)


def bessel_i1e(x: Any) -> Any: return bind(BesselI1e(), x)
