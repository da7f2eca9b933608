/* The reference set: plain C, never tuned. */
#include "kernels_loops.h"

const elstm_kernels elstm_kernels_scalar = {
    .name = "scalar",
    .align = 16,
#if ELSTM_LINKS_F32
    .enter_f32 = loops_enter_f32,
    .enter_s16 = loops_enter_s16,
    .leave_s8 = loops_leave_s8,
    .leave_s16 = loops_leave_s16,
    .matmul_f32 = loops_matmul_f32,
    .lstm_f32 = loops_lstm_f32,
    .tanh_f32 = loops_tanh_f32,
    .sigmoid_f32 = loops_sigmoid_f32,
#endif
    .prepare_s8 = NULL,
    .matmul_s8 = loops_matmul_s8,
    .matmul_s16 = loops_matmul_s16,
    .requantize_s8 = loops_requantize_s8,
    .lstm_s8 = loops_lstm_s8,
    .lstm_tfl8 = loops_lstm_tfl8,
    .tanh_s16 = loops_tanh_s16,
    .reset_s16 = loops_reset_s16,
    .update_s8 = loops_update_s8,
    .sigmoid_s16 = loops_sigmoid_s16,
};
