// Compiled with -mavx2 -mfma -mavxvnni.
#define DAPPLE_DOT _mm256_dpbusd_avx_epi32
#define DAPPLE_KERNEL kAvxVnniKernel
#include "gemm/int8_tile_avx_vnni-inl.h"
