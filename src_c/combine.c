/* What Combine has in common in both number types. */
#include "op.h"

int elstm_read_combination(elstm_reader *reader, elstm_combine *combine, const elstm_io *io) {
    const uint32_t kind = elstm_read_u32(reader);
    uint64_t sum = 0;
    uint32_t widest = 0;
    if (reader->failed || kind >= ELSTM_COMBINATIONS || io->reads < 2 ||
        (kind == ELSTM_SUBTRACT && io->reads != 2))
        return 0;
    combine->kind = (elstm_combination)kind;
    for (uint32_t j = 0; j < io->reads; ++j) {
        sum += io->in[j].width;
        widest = io->in[j].width > widest ? io->in[j].width : widest;
    }
    if (kind == ELSTM_CONCATENATE) return sum == io->out[0].width;
    for (uint32_t j = 0; j < io->reads; ++j)
        if (io->in[j].width != 1 && io->in[j].width != widest) return 0;
    return widest == io->out[0].width;
}

const void *elstm_combined_row(const elstm_runner *runner, const elstm_tensor *in, uint32_t k) {
    const int one = in->single == ELSTM_CONSTANT || (in->single == ELSTM_SINGLE && !runner->every);
    const uint32_t row = one ? k % runner->limits.streams : k;
    return (const unsigned char *)in->data + row * in->row;
}
