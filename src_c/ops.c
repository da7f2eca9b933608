/* The layers this build links. A firmware build lists the ones its model uses. */
#include "op.h"

extern const elstm_layer elstm_layer_lstm_f32, elstm_layer_lstm_s8, elstm_layer_dense_f32,
    elstm_layer_dense_s8, elstm_layer_activate_f32, elstm_layer_activate_s8, elstm_layer_last,
    elstm_layer_embedding_f32, elstm_layer_embedding_s8, elstm_layer_mask_f32, elstm_layer_mask_s8,
    elstm_layer_combine_f32, elstm_layer_combine_s8, elstm_layer_conv1d_f32, elstm_layer_conv1d_s8,
    elstm_layer_pool1d_f32, elstm_layer_pool1d_s8, elstm_layer_reduce_f32, elstm_layer_reduce_s8,
    elstm_layer_layer_norm_f32, elstm_layer_softmax_steps_f32, elstm_layer_attention_f32;
extern const elstm_layer elstm_layer_gru_f32, elstm_layer_gru_s8, elstm_layer_rnn_f32,
    elstm_layer_rnn_s8, elstm_layer_lstm_full_f32, elstm_layer_lstm_full_s8, elstm_layer_reverse,
    elstm_layer_crop, elstm_layer_pad, elstm_layer_repeat, elstm_layer_split, elstm_layer_group,
    elstm_layer_transpose, elstm_layer_constant_f32, elstm_layer_constant_s8;
extern const elstm_layer elstm_layer_lstm_tfl8, elstm_layer_dense_tfl8, elstm_layer_softmax_tfl8,
    elstm_layer_map_tfl8, elstm_layer_quantize_tfl8, elstm_layer_dequantize_tfl8,
    elstm_layer_embedding_tfl8, elstm_layer_concatenate_tfl8, elstm_layer_join_tfl8,
    elstm_layer_constant_tfl8, elstm_layer_conv1d_tfl8, elstm_layer_pool1d_tfl8,
    elstm_layer_reduce_tfl8;

static const elstm_layer *const layers[] = {
    &elstm_layer_lstm_s8,
    &elstm_layer_dense_s8,
    &elstm_layer_activate_s8,
    &elstm_layer_last,
    &elstm_layer_embedding_s8,
    &elstm_layer_mask_s8,
    &elstm_layer_combine_s8,
    &elstm_layer_conv1d_s8,
    &elstm_layer_pool1d_s8,
    &elstm_layer_reduce_s8,
    &elstm_layer_rnn_s8,
    &elstm_layer_lstm_full_s8,
    &elstm_layer_reverse,
    &elstm_layer_crop,
    &elstm_layer_pad,
    &elstm_layer_repeat,
    &elstm_layer_split,
    &elstm_layer_group,
    &elstm_layer_transpose,
    &elstm_layer_constant_s8,
#if ELSTM_LINKS_GRU
    &elstm_layer_gru_s8,
#endif
#if ELSTM_LINKS_F32
    &elstm_layer_lstm_f32,
    &elstm_layer_dense_f32,
    &elstm_layer_activate_f32,
    &elstm_layer_embedding_f32,
    &elstm_layer_mask_f32,
    &elstm_layer_combine_f32,
    &elstm_layer_conv1d_f32,
    &elstm_layer_pool1d_f32,
    &elstm_layer_reduce_f32,
    &elstm_layer_layer_norm_f32,
    &elstm_layer_softmax_steps_f32,
    &elstm_layer_attention_f32,
    &elstm_layer_gru_f32,
    &elstm_layer_rnn_f32,
    &elstm_layer_lstm_full_f32,
    &elstm_layer_constant_f32,
#endif
#if ELSTM_LINKS_F32 && ELSTM_LINKS_TFL8
    &elstm_layer_lstm_tfl8,
    &elstm_layer_dense_tfl8,
    &elstm_layer_softmax_tfl8,
    &elstm_layer_map_tfl8,
    &elstm_layer_quantize_tfl8,
    &elstm_layer_dequantize_tfl8,
    &elstm_layer_embedding_tfl8,
    &elstm_layer_concatenate_tfl8,
    &elstm_layer_join_tfl8,
    &elstm_layer_constant_tfl8,
    &elstm_layer_conv1d_tfl8,
    &elstm_layer_pool1d_tfl8,
    &elstm_layer_reduce_tfl8,
#endif
};

const elstm_layer *elstm_layer_find(uint32_t kind) {
    for (size_t k = 0; k < sizeof layers / sizeof *layers; ++k)
        if (layers[k]->kind == kind) return layers[k];
    return NULL;
}
