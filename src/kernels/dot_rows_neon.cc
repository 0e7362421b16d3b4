// Compiled with no instructions beyond ARMv8.0.
#include "kernels/dot_rows_arm-inl.h"

namespace dapple::kernels {

const DotRowsTable kNeonDotRows = {
    .q4_0 = Rows<Q4_0>,
    .q8_0 = Rows<Q8_0>,
    .q4_k = Rows<Q4_K>,
    .q6_k = Rows<Q6_K>,
};

}  // namespace dapple::kernels
