"""erf, erfc and erf_inv: polynomials near 0, exponentials times polynomials in the tails."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..value import F32, Value
from .exp import LN2, LOG2_E, exp_not_large, expm1_reduced, reduce_ln2, scale, scale_down
from .log import log
from .poly import estrin, horner, power_of_two, two_product

if TYPE_CHECKING:
    from ..builder import Builder

# erf(x) / x - 1 in x**2 on |x| <= 0.93 (f32) and 0.9; Remez, absolute error 2**-25.8 and 2**-54.5.
NEAR_F32 = (1.2837915e-01, -3.7612495e-01, 1.1281803e-01, -2.676558e-02, 4.9909875e-03, -5.9768977e-04)
NEAR_F64 = (
    0.12837916709551253, -0.37612638903182555, 0.11283791670895567, -0.026866170633587948,
    0.005223977510617539, -0.0008548320351535868, 0.00012055090779924145, -1.4919983298457778e-05,
    1.6376375336773332e-06, -1.5549631545515997e-07, 1.0270038343806527e-08,
)
# -log(erfc(t)) / t - 1 on [0, 3.93]; Remez with weight t erfc(t) / erf(t), relative error of erf 2**-27.5.
WHOLE_F32 = (
    0.12837917, 0.63661957, 0.102776304, -0.01914829, -0.00016731965, 0.0016719173, -0.00063435466, 0.0001177319,
    -9.227886e-06,
)
# -log(erfc(t)) on [0.9, 6]; Remez with weight erfc(t), error of erf 2**-53.5.
FAR_F64 = (
    5.995320666209881e-07, 1.1283729379997502, 0.6366497926812816, 0.10268356693363326, -0.01894674462129286,
    -0.0004791716926464178, 0.001997014441111255, -0.0008441774927340542, 0.00018690070393880383,
    -8.345857721987674e-06, -1.0456097649989207e-05, 4.50215392965316e-06, -1.0553495841439856e-06,
    1.619274544120138e-07, -1.6283176639364223e-08, 9.819418336396432e-10, -2.7053646546823432e-11,
)
# t exp(t**2) erfc(t) in u = (t - k) / (t + k) for t > 0.49; Remez, relative error 2**-29.9
# (k = 2, to 10.3, for f32) and 2**-59.8 (k = 3.5, to 27.3).
TAIL_F32 = (
    0.5107913524900926, 0.16721101881228573, -0.20384427441958972, 0.12151452465459989, -0.028976976830399057,
    -0.007510145338095018, 0.00478929898771552, 0.0010944646174952592, -0.0007648535128606014,
    -0.00023012045903586013, 0.00010754307300918664,
)
TAIL_F64 = (
    0.54352779463113, 0.074627932347574, -0.1218430389662345, 0.12942880995888154, -0.10475870253469494,
    0.06670995750429225, -0.03290004337953277, 0.011670784772748875, -0.0022412025021784883,
    -0.00029541153552377965, 0.0003362346404954035, -5.8419436426629954e-05, -2.8064346157627513e-05,
    1.2944978154083801e-05, 1.924096615431483e-06, -2.0925945874848493e-06, -1.1875577057502369e-07,
    3.3107798150426424e-07, 1.0820220546868314e-08, -5.0881690108562114e-08, -2.2713582723921536e-09,
    5.592084821700907e-09, 3.40179946475108e-10,
)
# (t + k) exp(t**2) erfc(t) in u = (t - k) / (t + k) for t >= 0; relative error 2**-24.8 (k = 2.5; Remez) for f32
# and 2**-62 (k = 3.75; Chebyshev) for f64. At u = 1 it is 1 / sqrt(pi).
SCALED_F32 = (
    1.0540318, -0.8046519, 0.4539144, -0.17124969, 0.028357606, 0.008383879, -0.004799957, -0.0004149626,
    0.00066223455, 2.7484775e-05, -7.132566e-05,
)
SCALED_F64 = (
    1.0919229095627891, -0.9587415766529096, 0.7363189252217517, -0.4904702912076774, 0.27906204903377785,
    -0.13195540117857815, 0.04911877861545046, -0.012535880040194748, 0.000986338077391322, 0.0007948230899694303,
    -0.000348646841081727, 1.0594056065248758e-05, 3.7471683056514495e-05, -8.904238602157426e-06,
    -3.289488072271956e-06, 1.6569138267944772e-06, 2.801829627230877e-07, -2.6532962931893854e-07,
    -2.7633992072446614e-08, 4.2128573713346054e-08, 4.037440109982079e-09, -6.576320327592079e-09,
    -8.083270576790127e-10, 8.796311365182055e-10, 1.451239920450052e-10, -7.027650769658494e-11,
    -1.4392461894770234e-11,
)
# erf_inv(x) / x in w - 2.5 (f32) and w - 3.125 for w below 5 and 6.25, in sqrt(w) less a constant
# above; Remez, relative error 2**-27.4, 2**-30.2, 2**-58.2, 2**-59.8, 2**-59.9.
INVERSE_F32 = (
    1.5014093593449809, 0.24664028621298204, -0.0041773869024725385, -0.0012527420001076108,
    0.0002183445008769644, -4.963277111799986e-06, -3.4627162966011487e-06, 4.6615522441818824e-07,
    2.3233383362359957e-08, -8.789936047534323e-09,
)
INVERSE_TAIL_F32 = (
    2.832976798900431, 1.0016752464344252, 0.009445500402776199, -0.007642940386119412, 0.0056853450706127,
    -0.003565853821494489, 0.0014849198601484018, -0.00012495646384759465, -0.0002944005448535749,
    0.00017023701823374324, -1.9114502862151283e-05, -6.987436918122318e-06,
)
INVERSE_F64 = (
    1.6536545626831027, 0.24015818242558834, -0.006033670871426996, -0.0007407025341545544,
    0.00018673420802052795, -1.3882523394196868e-05, -1.3654691772613406e-06, 4.234788171198634e-07,
    -2.907038989799959e-08, -4.112660642416137e-09, 1.051222568176435e-09, -5.4142946473944785e-11,
    -1.2978504594037312e-11, 2.63050351955431e-12, -8.079282210470909e-14, -4.001591039964045e-14,
    6.533327274790581e-15, -3.9876410193811365e-17, -1.2344721314721573e-16, 1.5545076593769195e-17,
    6.955643236334292e-19, -3.48759510140999e-19, 1.6543113069785007e-20, 3.2192686300624435e-21,
    -3.0022428478372897e-22,
)
INVERSE_TAIL_F64 = (
    3.0838856104922208, 1.0052589676941655, 0.005370914553555091, -0.0037512085082238144,
    0.002491442097953414, -0.0016882755354778495, 0.0009532893416633313, -0.0003550378133705184,
    2.4031511863399652e-05, 6.828711418271075e-05, -4.732067382311329e-05, 1.246504280628848e-05,
    2.9325501354755723e-06, -3.985745962540541e-06, 1.4816700970059025e-06, -2.7551927617163066e-08,
    -2.4560946704909113e-07, 1.3152849987341685e-07, -2.081993171939374e-08, -1.5283588742540925e-08,
    7.646081584341228e-09,
)
INVERSE_FAR_F64 = (
    4.849906401408584, 1.0103004648645448, -0.00013871931838028273, -0.00021503011980269552,
    7.599527810032545e-05, -1.9681771133856477e-05, 4.526052490043867e-06, -9.930259926455582e-07,
    2.2905300477607953e-07, -6.757057979560788e-08, 2.9018094750524077e-08, -1.5219148215828706e-08,
    7.822407325089602e-09, -3.525734762502881e-09, 1.3150052628193396e-09, -3.8841823762664786e-10,
    7.010304203564224e-11, 1.851927674880898e-11, -2.051019718606755e-11, 5.0917439563459654e-12,
)


def _near(b: Builder, x: Value) -> Value:
    """erf(x) for |x| < 0.9."""
    z = b.mul(x, x)
    p = horner(b, z, NEAR_F32) if x.dtype == F32 else horner(b, z, (*NEAR_F64[:2], estrin(b, z, NEAR_F64[2:])))
    return b.mad(p, x, x)


def erf(b: Builder, x: Value) -> Value:
    """2 / sqrt(pi) times the integral of exp(-t**2) from 0 to x."""
    return b.copysign(_erf_f32(b, b.abs(x)) if x.dtype == F32 else _erf_f64(b, b.abs(x)), x)


def _erf_f32(b: Builder, x: Value) -> Value:
    """-expm1(log(erfc(x))), which keeps its digits near 0 as well; 1.9 ulp."""
    t = b.min(x, 3.93)
    y = b.mad(t, horner(b, t, WHOLE_F32), t)
    n = b.rint(b.mul(y, LOG2_E))
    r = b.mad(n, LN2, b.neg(y))     # where n is large, erfc is too small for more digits of log 2 to matter
    down = power_of_two(b, b.neg(n))
    return b.mad(b.neg(down), expm1_reduced(b, r), b.sub(1.0, down))


def _erf_f64(b: Builder, x: Value) -> Value:
    t = b.min(x, 6.0)
    far = b.sub(1.0, exp_not_large(b, b.neg(estrin(b, t, FAR_F64))))
    return b.select(b.gt(t, 0.9), far, _near(b, t))


def _exp_of_square(b: Builder, t: Value, sign: float) -> tuple[Value, Value]:
    """e and n with exp(sign t**2) = (1 + e) 2**n, what the rounding of the square lost included."""
    square, low = two_product(b, t, b.mul(t, sign))
    n, r = reduce_ln2(b, square)
    e = expm1_reduced(b, r)
    return b.mad(b.add(e, 1.0), low, e), n


def erfc(b: Builder, x: Value) -> Value:
    """1 - erf(x), small results to full relative accuracy."""
    if x.dtype == F32:
        return _erfc(b, x, 0.65, 10.3, 2.0, TAIL_F32)
    return _erfc(b, x, 0.5, 27.3, 3.5, TAIL_F64)


def _erfc(b: Builder, x: Value, least: float, most: float, k: float, coefficients: tuple[float, ...]) -> Value:
    """1 - erf(x) below `least`, 0 beyond `most`, between them exp(-x**2) / x times a polynomial in (x - k) / (x + k)."""
    near = b.sub(1.0, _near(b, x))
    t = b.max(b.min(b.abs(x), most), 0.25)
    u = b.div(b.sub(t, k), b.add(t, k))
    e, n = _exp_of_square(b, t, -1.0)
    f = horner(b, u, coefficients)
    tail = scale_down(b, b.div(b.mad(f, e, f), t), n, b.ge(t, most))
    far = b.select(b.lt(x, 0.0), b.sub(2.0, tail), tail)
    return b.select(b.lt(b.abs(x), least), near, b.select(b.ne(x, x), x, far))


def erfcx(b: Builder, x: Value) -> Value:
    """exp(x**2) erfc(x): a polynomial in (x - k) / (x + k) over x + k; below 0, 2 exp(x**2) less the value at -x."""
    k, coefficients, most = (2.5, SCALED_F32, 9.5) if x.dtype == F32 else (3.75, SCALED_F64, 27.0)
    t = b.abs(x)
    near = b.min(t, 2.0**60)
    scaled = b.div(horner(b, b.div(b.sub(near, k), b.add(near, k)), coefficients), b.add(t, k))

    def mend() -> list[Value]:
        e, n = _exp_of_square(b, b.min(t, most), 1.0)
        reflected = b.sub(scale(b, b.add(e, 1.0), b.add(n, 1.0)), scaled)
        return [b.select(b.lt(x, 0.0), reflected, scaled)]
    return b.cond(b.any(b.lt(x, 0.0)), mend, lambda: [scaled])[0]


def erf_inv(b: Builder, x: Value) -> Value:
    """y with erf(y) = x: x times a function of w = -log(1 - x**2) (Giles, 2010), own fits."""
    w = b.neg(log(b, b.mul(b.sub(1.0, x), b.add(x, 1.0))))
    out = b.mul(x, _inverse_ratio_f32(b, w) if x.dtype == F32 else _inverse_ratio_f64(b, w))
    out = b.select(b.eq(b.abs(x), 1.0), b.copysign(b.const(np.inf, x.dtype), x), out)
    return b.select(b.gt(b.abs(x), 1.0), np.nan, out)


def _inverse_ratio_f32(b: Builder, w: Value) -> Value:
    middle = horner(b, b.sub(w, 2.5), INVERSE_F32)     # more exact than a tree, whose parts cancel
    tail = horner(b, b.sub(b.sqrt(w), 3.0), INVERSE_TAIL_F32)
    return b.select(b.lt(w, 5.0), middle, tail)


def _inverse_ratio_f64(b: Builder, w: Value) -> Value:
    """Both tails cost more than the middle and are rare: skipped unless a lane needs them."""
    middle = horner(b, b.sub(w, 3.125), INVERSE_F64)

    def mend() -> list[Value]:
        root = b.sqrt(w)
        near = horner(b, b.sub(root, 3.25), INVERSE_TAIL_F64)
        far = horner(b, b.sub(root, 5.0), INVERSE_FAR_F64)
        tail = b.select(b.lt(w, 16.0), near, far)
        return [b.select(b.lt(w, 6.25), middle, tail)]

    return b.cond(b.any(b.ge(w, 6.25)), mend, lambda: [middle])[0]
