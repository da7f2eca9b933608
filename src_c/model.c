/* Image bytes to a checked model: the only reader of bytes. The format is docs/format.md. */
#include "edgelstm.h"
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

#define HEADER_SIZE 128
#define SECTIONS_AT 64
#define TENSOR_SIZE 16
#define PORT_SIZE 16
#define MAX_WIDTH 65536u

enum { TENSORS, OPS, PORTS, WEIGHTS, META, EXAMPLE, SECTIONS };

const char *elstm_status_text(elstm_status status) {
    switch (status) {
    case ELSTM_OK: return "ok";
    case ELSTM_ERR_ARGUMENT: return "an argument is out of range";
    case ELSTM_ERR_ALIGNMENT: return "image or arena does not start on a multiple of 16 bytes";
    case ELSTM_ERR_IMAGE: return "the image is damaged or is not an EdgeLSTM image";
    case ELSTM_ERR_VERSION: return "the image has a format version that this build does not read";
    case ELSTM_ERR_UNSUPPORTED:
        return "the image or call needs something that this build does not hold";
    case ELSTM_ERR_MEMORY: return "the arena is too small";
    case ELSTM_ERR_SELF_CHECK:
        return "the example inside the image gives other answers on this machine";
    }
    return "unknown status";
}

/* ---- bytes ---- */

static uint32_t u16_at(const unsigned char *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }

static uint32_t u32_at(const unsigned char *p) { return u16_at(p) | u16_at(p + 2) << 16; }

/* Scales are compared as integers: the bits of positive floats are in their order. */
#define SMALLEST_SCALE 0x00800000u /* 2^-126, so that a reciprocal is finite */
#define INFINITE 0x7F800000u

static int finite_bits(uint32_t bits) { return (bits & INFINITE) != INFINITE; }

static int zeros(const unsigned char *p, size_t size) {
    for (size_t k = 0; k < size; ++k)
        if (p[k] != 0) return 0;
    return 1;
}

static uint32_t align_up(uint32_t value, uint32_t to) { return (value + (to - 1)) & ~(to - 1); }

static int little_endian(void) {
    const uint16_t probe = 1;
    unsigned char first;
    memcpy(&first, &probe, 1);
    return first == 1;
}

/* CRC-32 (IEEE 802.3), half a byte at a time: 64 bytes of table serve a microcontroller too. */
static uint32_t crc32(uint32_t crc, const unsigned char *p, size_t size) {
    static const uint32_t table[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC,
                                       0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
                                       0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                       0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    for (size_t k = 0; k < size; ++k) {
        crc = crc >> 4 ^ table[(crc ^ p[k]) & 15];
        crc = crc >> 4 ^ table[(crc ^ (uint32_t)p[k] >> 4) & 15];
    }
    return crc;
}

/* ---- the reader of an op's record ---- */

static const unsigned char *take(elstm_reader *reader, size_t size) {
    if (reader->failed || (size_t)(reader->end - reader->at) < size) {
        reader->failed = 1;
        return NULL;
    }
    reader->at += size;
    return reader->at - size;
}

uint32_t elstm_read_u8(elstm_reader *reader) {
    const unsigned char *p = take(reader, 1);
    return p == NULL ? 0 : p[0];
}

uint32_t elstm_read_u16(elstm_reader *reader) {
    const unsigned char *p = take(reader, 2);
    return p == NULL ? 0 : u16_at(p);
}

uint32_t elstm_read_u32(elstm_reader *reader) {
    const unsigned char *p = take(reader, 4);
    return p == NULL ? 0 : u32_at(p);
}

void elstm_read_zeros(elstm_reader *reader, uint32_t size) {
    const unsigned char *p = take(reader, size);
    if (p != NULL && !zeros(p, size)) reader->failed = 1;
}

void elstm_skip_scale(elstm_reader *reader) {
    const uint32_t bits = elstm_read_u32(reader);
    if (bits == 0 || bits >= INFINITE) reader->failed = 1; /* or negative, or NaN */
}

#if ELSTM_LINKS_F32

float elstm_read_f32(elstm_reader *reader) {
    const uint32_t bits = elstm_read_u32(reader);
    float value = 0;
    if (finite_bits(bits))
        memcpy(&value, &bits, sizeof value);
    else
        reader->failed = 1;
    return value;
}

elstm_activation_f32 elstm_read_activation_f32(elstm_reader *reader) {
    const uint32_t kind = elstm_read_u32(reader);
    const float alpha = elstm_read_f32(reader);
    float beta = 0, gamma = 0;
    if (kind > ELSTM_SOFTMAX) beta = elstm_read_f32(reader), gamma = elstm_read_f32(reader);
    const int divides = kind == ELSTM_CELU || kind == ELSTM_SCALED_SOFTPLUS;
    if (kind >= ELSTM_ACTIVATIONS || (divides && !(alpha < 0 || alpha > 0)) ||
        (kind == ELSTM_SQUAREPLUS && alpha < 0))
        reader->failed = 1;
    return (elstm_activation_f32){reader->failed ? ELSTM_LINEAR : (elstm_activation)kind, alpha,
                                  beta, gamma};
}

#endif

uint32_t elstm_read_own_period(elstm_reader *reader) {
    if (reader->failed || reader->at == reader->end) return 0;
    const uint32_t period = elstm_read_u32(reader);
    if (period < 1 || period > ELSTM_MOST_COUNT) reader->failed = 1;
    return period;
}

const void *elstm_read_array(elstm_reader *reader, uint64_t count, uint32_t size, uint32_t align) {
    const uint32_t at = align_up(reader->weights_at, align);
    if (reader->failed || at < reader->weights_at || at > reader->weights_end ||
        count > (reader->weights_end - at) / size ||
        !zeros(reader->image + reader->weights_at, at - reader->weights_at)) {
        reader->failed = 1;
        return NULL;
    }
    reader->weights_at = at + (uint32_t)count * size;
    return reader->image + at;
}

elstm_activation_s16 elstm_read_activation_s16(elstm_reader *reader) {
    const uint32_t kind = elstm_read_u8(reader), doublings = elstm_read_u8(reader);
    if (kind >= ELSTM_S16_ACTIVATIONS || doublings > 15) reader->failed = 1;
    return (elstm_activation_s16){(uint8_t)(reader->failed ? ELSTM_S16_LINEAR : kind),
                                  (uint8_t)doublings, NULL};
}

void elstm_read_table(elstm_reader *reader, elstm_activation_s16 *f) {
    const int jumps = f->kind == ELSTM_S16_JUMPS;
    if (f->kind != ELSTM_S16_TABLE && f->kind != ELSTM_S16_SOFTMAX && !jumps) return;
    f->table = elstm_read_array(reader, jumps ? 263 : 257, sizeof(int16_t), 16);
    if (reader->failed || f->kind != ELSTM_S16_SOFTMAX) return;
    /* so that a sum of exponentials is positive and fits 32 bits */
    if (f->table[0] != 32767) reader->failed = 1;
    for (uint32_t k = 0; k < 257; ++k)
        if (f->table[k] < 0) reader->failed = 1;
}

/* ---- tensors and ops ---- */

static const unsigned char *section(const elstm_model *model, uint32_t index) {
    return model->image + model->sections[index][0];
}

static uint32_t section_size(const elstm_model *model, uint32_t index) {
    return model->sections[index][1];
}

void elstm_form_describe(const elstm_model *model, uint32_t index, elstm_form *form) {
    const unsigned char *p = section(model, TENSORS) + (size_t)index * TENSOR_SIZE;
    *form = (elstm_form){.type = (elstm_type)p[0],
                         .single = p[1],
                         .clock = p[2],
                         .width = u32_at(p + 4),
                         .scale = u32_at(p + 8),
                         .zero = (int32_t)p[3] - (p[3] > 127 ? 256 : 0),
                         .rows = 1};
}

/* Types and scales as the number type has them. */
static int tensor_fits(const elstm_model *model, const elstm_form *tensor) {
    const int whole = tensor->scale == ELSTM_SCALE_ONE;
    switch (model->type) {
    case ELSTM_F32: return tensor->type == ELSTM_F32 && whole && tensor->zero == 0;
    case ELSTM_S8:
        return (tensor->type == ELSTM_S8 || tensor->type == ELSTM_S16) && tensor->zero == 0;
    default:
        if (tensor->type == ELSTM_S8) return 1;
        return tensor->zero == 0 &&
               (tensor->type == ELSTM_S16 || (tensor->type == ELSTM_F32 && whole));
    }
}

/* A tfl8 model has layers of its own, and those that copy bytes. */
static int kind_fits(const elstm_model *model, uint32_t kind) {
    const int own = kind >= ELSTM_KIND_LSTM_TFL8;
    if (model->type != ELSTM_TFL8) return !own;
    return own || (kind >= ELSTM_KIND_LAST && kind <= ELSTM_KIND_TRANSPOSE);
}

static int check_tensors(elstm_model *model) {
    for (uint32_t k = 0; k < model->tensors; ++k) {
        const unsigned char *p = section(model, TENSORS) + (size_t)k * TENSOR_SIZE;
        elstm_form tensor;
        if (p[1] > ELSTM_CONSTANT || p[2] >= ELSTM_MAX_CLOCKS || u32_at(p + 12) != 0) return 0;
        elstm_form_describe(model, k, &tensor);
        if (tensor.width < 1 || tensor.width > MAX_WIDTH || tensor.scale < SMALLEST_SCALE ||
            tensor.scale >= INFINITE)
            return 0;
        if (!tensor_fits(model, &tensor)) return 0;
        if (k >= model->inputs) continue;
        if (tensor.single == ELSTM_SINGLE) return 0;
        if (model->type == ELSTM_S8 && tensor.type == ELSTM_S8) return 0;
        if (tensor.clock == 0) continue;
        /* a number of steps of its own */
        if (k == 0 || tensor.single || tensor.clock != model->clocks) return 0;
        model->clock[model->clocks++] = (elstm_clock){ELSTM_CLOCK_INPUT, 0, {k, 0, 0, 0, 0}};
        model->causal = 0;
    }
    return 1;
}

/* When the op writes: its tensors must say so. While opening also what the model is by it. */
static elstm_status check_time(elstm_walk *walk, elstm_op *op, const elstm_io *io) {
    elstm_model *opening = walk->opening;
    elstm_time time = {.single = io->in[0].single, .clock = io->in[0].clock};
    if (op->layer->time != NULL && !op->layer->time(op, io, &time)) return ELSTM_ERR_IMAGE;
    op->together = (uint16_t)time.together;
    op->exact = time.exact;
    op->multiple = time.multiple;
    if (opening == NULL) return ELSTM_OK;
    const elstm_status status = elstm_clock_find(opening, &time);
    if (status != ELSTM_OK) return status;
    uint32_t clock = ELSTM_MAX_CLOCKS;
    for (uint32_t k = 0; k < io->reads; ++k) {
        if (!(time.together >> k & 1)) continue;
        if (clock != ELSTM_MAX_CLOCKS && io->in[k].clock != clock) time.waits = 1;
        clock = io->in[k].clock;
    }
    for (uint32_t k = 0; k < io->writes; ++k)
        if (io->out[k].single != time.single || io->out[k].clock != time.clock)
            return ELSTM_ERR_IMAGE;
    if (time.waits) opening->causal = 0;
    return ELSTM_OK;
}

void elstm_walk_start(elstm_walk *walk, const elstm_model *model) {
    const uint32_t weights = model->sections[WEIGHTS][0];
    walk->model = model;
    walk->record = section(model, OPS);
    walk->next = model->inputs;
    walk->opening = NULL;
    walk->reader = (elstm_reader){.image = model->image,
                                  .weights_at = weights,
                                  .weights_end = weights + section_size(model, WEIGHTS)};
}

/* A record: u16 kind, u16 size, u8 tensors read, u8 tensors written, u16 0, their u16 indices, the
 * layer's fields on the next multiple of 4. Tensors are numbered in the order of writing, so each
 * is written once and only what was written can be read. */
elstm_status elstm_walk_next(elstm_walk *walk, elstm_op *op, elstm_io *io) {
    const elstm_model *model = walk->model;
    const unsigned char *record = walk->record;
    const unsigned char *end = section(model, OPS) + section_size(model, OPS);
    const size_t left = (size_t)(end - record);
    elstm_reader *reader = &walk->reader;
    memset(op, 0, sizeof *op);
    if (left < 8) return ELSTM_ERR_IMAGE;
    const uint32_t size = u16_at(record + 2), reads = record[4], writes = record[5];
    const uint32_t fields = align_up(8 + 2 * (reads + writes), 4);
    if (size % 4 != 0 || size > left) return ELSTM_ERR_IMAGE;
    op->layer = elstm_layer_find(u16_at(record));
    if (op->layer == NULL) return ELSTM_ERR_UNSUPPORTED;
    if (!kind_fits(model, op->layer->kind)) return ELSTM_ERR_IMAGE;
    const uint32_t most_reads = op->layer->most_reads == 0 ? 1 : op->layer->most_reads;
    const uint32_t most_writes = op->layer->most_writes == 0 ? 1 : op->layer->most_writes;
    if (reads < 1 || reads > most_reads || writes < 1 || writes > most_writes || size < fields ||
        u16_at(record + 6) != 0 ||
        !zeros(record + 8 + 2 * (reads + writes), (reads + writes) % 2 * 2))
        return ELSTM_ERR_IMAGE;
    io->reads = reads;
    io->writes = writes;
    for (uint32_t k = 0; k < reads; ++k) {
        const uint32_t index = u16_at(record + 8 + 2 * k);
        if (index >= walk->next) return ELSTM_ERR_IMAGE;
        op->reads[k] = (uint16_t)index;
        elstm_form_describe(model, index, &io->in[k]);
    }
    for (uint32_t k = 0; k < writes; ++k) {
        const uint32_t index = walk->next + k;
        if (u16_at(record + 8 + 2 * (reads + k)) != index || index >= model->tensors)
            return ELSTM_ERR_IMAGE;
        elstm_form_describe(model, index, &io->out[k]);
    }
    op->in = op->reads[0];
    op->out = walk->next;
    op->read_count = (uint8_t)reads;
    op->write_count = (uint8_t)writes;
    reader->at = record + fields;
    reader->end = record + size;
    if (!op->layer->decode(reader, op, io) || reader->failed || reader->at != reader->end)
        return ELSTM_ERR_IMAGE;
    walk->record += size;
    walk->next += writes;
    return check_time(walk, op, io);
}

static elstm_status check_ops(elstm_model *model) {
    static const elstm_kernels none; /* a state is the same in every set */
    uint64_t state = 0;
    elstm_walk walk;
    elstm_walk_start(&walk, model);
    walk.opening = model;
    for (uint32_t k = 0; k < model->ops; ++k) {
        elstm_op op;
        elstm_io io;
        elstm_sizes sizes = {0, 0, 0};
        const elstm_status status = elstm_walk_next(&walk, &op, &io);
        if (status != ELSTM_OK) return status;
        if (op.layer->check != NULL && !op.layer->check(&op, &io)) return ELSTM_ERR_IMAGE;
        if (op.layer->sizes != NULL) op.layer->sizes(&op, &io, &none, 1, &sizes);
        state += (sizes.state + ELSTM_ALIGN - 1) / ELSTM_ALIGN * ELSTM_ALIGN;
    }
    if (walk.next != model->tensors) return ELSTM_ERR_IMAGE;
    model->uneven = model->clocks > 1;
    if (model->uneven) state += ELSTM_COUNTER_SIZE;
    if (walk.record != section(model, OPS) + section_size(model, OPS)) return ELSTM_ERR_IMAGE;
    if (state > UINT32_MAX) return ELSTM_ERR_UNSUPPORTED;
    model->state_size = (uint32_t)state;
    /* scalers follow the layers' arrays */
    for (uint32_t k = 0; k < model->inputs + model->outputs; ++k) {
        const unsigned char *p = section(model, PORTS) + (size_t)k * PORT_SIZE;
        elstm_port *port = k < model->inputs ? &model->input[k] : &model->output[k - model->inputs];
        elstm_form tensor;
        const uint32_t index = u32_at(p), scaled = u32_at(p + 4);
        if (index >= model->tensors || (k < model->inputs && index != k) || scaled > 1 ||
            !zeros(p + 8, 8))
            return ELSTM_ERR_IMAGE;
        elstm_form_describe(model, index, &tensor);
        *port = (elstm_port){.type = tensor.type,
                             .width = tensor.width,
                             .zero = tensor.zero,
                             .tensor = index,
                             .single = tensor.single,
                             .own = k < model->inputs && tensor.clock != 0};
        memcpy(&port->scale, &tensor.scale, sizeof port->scale);
        if (!scaled) continue;
        port->scaler_scale = elstm_read_array(&walk.reader, port->width, sizeof(float), 16);
        port->scaler_offset = elstm_read_array(&walk.reader, port->width, sizeof(float), 16);
        if (walk.reader.failed) return ELSTM_ERR_IMAGE;
        for (uint32_t j = 0; j < port->width; ++j) {
            uint32_t scale, offset;
            memcpy(&scale, port->scaler_scale + j, sizeof scale);
            memcpy(&offset, port->scaler_offset + j, sizeof offset);
            if (!finite_bits(scale) || !finite_bits(offset) || (scale & 0x7FFFFFFFu) == 0)
                return ELSTM_ERR_IMAGE;
        }
    }
    return walk.reader.weights_at == walk.reader.weights_end ? ELSTM_OK : ELSTM_ERR_IMAGE;
}

/* ---- the example ---- */

uint64_t elstm_example_rows(const elstm_model *model, const elstm_port *port) {
    elstm_form tensor;
    elstm_form_describe(model, port->tensor, &tensor);
    if (tensor.single == ELSTM_CONSTANT || (tensor.single == ELSTM_SINGLE && !model->causal))
        return 1;
    return elstm_clock_rows(model, tensor.clock, model->example_steps, NULL);
}

static uint64_t example_bytes(const elstm_model *model, const elstm_port *port) {
    const uint64_t size = elstm_value_size(model->type == ELSTM_S8 ? ELSTM_S16 : port->type);
    return (elstm_example_rows(model, port) * size * port->width + 3) / 4 * 4;
}

const void *elstm_example(const elstm_model *model, const elstm_port *port) {
    const unsigned char *p = section(model, EXAMPLE) + 8;
    for (uint32_t k = 0; k < model->inputs + model->outputs; ++k) {
        const elstm_port *here =
            k < model->inputs ? &model->input[k] : &model->output[k - model->inputs];
        if (here == port) return p;
        p += example_bytes(model, here);
    }
    return NULL;
}

static int check_example(elstm_model *model) {
    uint64_t size = 8;
    if (section_size(model, EXAMPLE) == 0) return 1;
    if (section_size(model, EXAMPLE) < 8) return 0;
    model->example_steps = u32_at(section(model, EXAMPLE));
    if (model->example_steps == 0 || model->example_steps > 65535 ||
        u32_at(section(model, EXAMPLE) + 4) != 0)
        return 0;
    for (uint32_t k = 0; k < model->inputs; ++k) size += example_bytes(model, &model->input[k]);
    for (uint32_t k = 0; k < model->outputs; ++k) size += example_bytes(model, &model->output[k]);
    if (size != section_size(model, EXAMPLE)) return 0;
    for (uint32_t k = 0; k < model->inputs + model->outputs; ++k) {
        const elstm_port *port =
            k < model->inputs ? &model->input[k] : &model->output[k - model->inputs];
        const unsigned char *p = elstm_example(model, port);
        if (port->type != ELSTM_F32) continue;
        for (uint64_t left = example_bytes(model, port); left > 0; left -= 4, p += 4)
            if (!finite_bits(u32_at(p))) return 0;
    }
    return 1;
}

/* ---- opening ---- */

/* Sections stand in order, each on the next multiple of 64, zeros between them, the last ends the
 * image. */
static int check_sections(elstm_model *model) {
    uint32_t end = HEADER_SIZE;
    for (uint32_t k = 0; k < SECTIONS; ++k) {
        const unsigned char *p = model->image + SECTIONS_AT + 8 * k;
        const uint32_t offset = u32_at(p), size = u32_at(p + 4);
        if (offset != align_up(end, 64) || offset < end || offset > model->image_size ||
            size > model->image_size - offset || !zeros(model->image + end, offset - end))
            return 0;
        model->sections[k][0] = offset;
        model->sections[k][1] = size;
        end = offset + size;
    }
    return end == model->image_size;
}

elstm_status elstm_model_open(elstm_model *model, const void *image, size_t size) {
    static const char magic[8] = {'E', 'D', 'G', 'E', 'L', 'S', 'T', 'M'};
    static const char layout[8] = {'g', '8', ELSTM_LAYOUT_ROWS ? 'r' : 'c', '4', 'i', 'f',
                                   'g', 'o'};
    const unsigned char *p = image;
    if (model == NULL || image == NULL) return ELSTM_ERR_ARGUMENT;
    memset(model, 0, sizeof *model);
    if ((uintptr_t)image % ELSTM_ALIGN != 0) return ELSTM_ERR_ALIGNMENT;
    if (size < HEADER_SIZE || size > UINT32_MAX - 64 || memcmp(p, magic, 8) != 0)
        return ELSTM_ERR_IMAGE;
    if (u16_at(p + 8) != ELSTM_IMAGE_VERSION) return ELSTM_ERR_VERSION;
    if (u32_at(p + 12) != size) return ELSTM_ERR_IMAGE;
    uint32_t crc = crc32(0xFFFFFFFFu, p, 16);
    crc = crc32(crc, p + 20, size - 20) ^ 0xFFFFFFFFu;
    if (crc != u32_at(p + 16)) return ELSTM_ERR_IMAGE;
    /* weights are used where they lie, and negative numbers must shift arithmetically */
    if (!little_endian() || elstm_sh(-1, 1) != -1) return ELSTM_ERR_UNSUPPORTED;
    if (memcmp(p + 24, layout, 8) != 0 || !zeros(p + 40, 4)) return ELSTM_ERR_UNSUPPORTED;
    const uint32_t type = u16_at(p + 10);
    if (type != ELSTM_S8 && !(ELSTM_LINKS_F32 && (type == ELSTM_F32 || type == ELSTM_TFL8)))
        return ELSTM_ERR_UNSUPPORTED;
    if (ELSTM_LAYOUT_ROWS && u16_at(p + 10) == ELSTM_F32) return ELSTM_ERR_UNSUPPORTED;
    if (u32_at(p + 20) != SECTIONS || !zeros(p + 44, 20)) return ELSTM_ERR_IMAGE;
    model->image = p;
    model->image_size = (uint32_t)size;
    model->type = (elstm_type)type;
    model->inputs = u16_at(p + 32);
    model->outputs = u16_at(p + 34);
    model->tensors = u16_at(p + 36);
    model->ops = u16_at(p + 38);
    model->causal = 1;
    model->clocks = 1;
    if (model->inputs < 1 || model->outputs < 1 || model->ops < 1 ||
        model->tensors < model->inputs + model->ops || !check_sections(model) ||
        section_size(model, TENSORS) != model->tensors * TENSOR_SIZE ||
        section_size(model, PORTS) != (model->inputs + model->outputs) * PORT_SIZE)
        return ELSTM_ERR_IMAGE;
    if (model->inputs > ELSTM_MAX_PORTS || model->outputs > ELSTM_MAX_PORTS)
        return ELSTM_ERR_UNSUPPORTED;
    if (!check_tensors(model)) return ELSTM_ERR_IMAGE;
    const elstm_status status = check_ops(model);
    if (status != ELSTM_OK) return status;
    if (!check_example(model)) return ELSTM_ERR_IMAGE;
    model->meta_size = section_size(model, META);
    model->meta = model->meta_size == 0 ? NULL : (const char *)section(model, META);
    return ELSTM_OK;
}
