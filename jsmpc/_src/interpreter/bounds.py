"""Error bounds that several rules have in common.

Those in ulp hold beside a relative error of 2^-21 where results are large (in the ring of 64
bits). Outside of a function's domain the argument is moved to its nearest end, and results beyond
the range are the largest number.
"""

ONE_ULP = "2^-21 or 1 ulp"
TWO_ULP = "2^-21 or 2 ulp"
