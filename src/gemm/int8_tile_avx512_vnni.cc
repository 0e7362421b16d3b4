// Compiled with -mavx2 -mfma -mavx512vl -mavx512vnni.
#define DAPPLE_DOT _mm256_dpbusd_epi32
#define DAPPLE_KERNEL kAvx512Vnni256Kernel
#include "gemm/int8_tile_avx_vnni-inl.h"
