// Times RTNeural's compile-time LSTM layer for tools/bench_step.py, which passes a work tree of
// RTNeural and the backend: RTNEURAL_USE_XSIMD or RTNEURAL_USE_EIGEN.
#include <RTNeural/RTNeural.h>

#include <ctime>
#include <memory>
#include <vector>

namespace {

constexpr unsigned rows = 128, walked = 16, warm = 8; // as in bench_step.c
constexpr unsigned alignment = 64;

double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct Bench {
    virtual ~Bench() = default;
    virtual double steps(unsigned count) = 0;
    virtual const float *answers() = 0;
};

template <int inputs, int units> struct Sized : Bench {
    RTNeural::ModelT<float, inputs, units, RTNeural::LSTMLayerT<float, inputs, units>> model;
    static constexpr unsigned width = (inputs + 15) / 16 * 16; // whole registers
    alignas(alignment) float x[rows * width] = {};
    std::vector<float> y = std::vector<float>(rows * units);

    // Gates i f g o; kernel [4][units][inputs], recurrent [4][units][units], bias [4][units].
    Sized(const float *kernel, const float *recurrent, const float *bias, const float *given) {
        std::vector<std::vector<float>> w(inputs, std::vector<float>(4 * units));
        std::vector<std::vector<float>> u(units, std::vector<float>(4 * units));
        for (int row = 0; row < 4 * units; ++row) {
            for (int k = 0; k < inputs; ++k) w[k][row] = kernel[row * inputs + k];
            for (int k = 0; k < units; ++k) u[k][row] = recurrent[row * units + k];
        }
        auto &layer = model.template get<0>();
        layer.setWVals(w);
        layer.setUVals(u);
        layer.setBVals(std::vector<float>(bias, bias + 4 * units));
        for (unsigned row = 0; row < rows; ++row)
            for (int k = 0; k < inputs; ++k) x[row * width + k] = given[row * inputs + k];
        model.reset();
    }

    double steps(unsigned count) override {
        double start = 0;
        for (unsigned k = 0; k < count + warm; ++k) {
            if (k == warm) start = now();
            model.forward(x + k % walked * width);
        }
        return (now() - start) / count;
    }

    const float *answers() override {
        model.reset();
        for (unsigned row = 0; row < rows; ++row) {
            model.forward(x + row * width);
            for (int k = 0; k < units; ++k) y[row * units + k] = model.getOutputs()[k];
        }
        return y.data();
    }
};

template <int inputs, int units>
Bench *open(unsigned i, unsigned u, const float *w, const float *r, const float *b,
            const float *x) {
    return i == inputs && u == units ? new Sized<inputs, units>(w, r, b, x) : nullptr;
}

} // namespace

// NULL for a size that is not compiled in.
extern "C" void *rtneural_open(unsigned inputs, unsigned units, const float *kernel,
                               const float *recurrent, const float *bias, const float *x) {
    for (auto *one :
         {open<8, 16>, open<16, 32>, open<32, 64>, open<64, 128>, open<128, 256>, open<256, 512>})
        if (Bench *bench = one(inputs, units, kernel, recurrent, bias, x)) return bench;
    return nullptr;
}

extern "C" double rtneural_steps(void *bench, unsigned steps) {
    return static_cast<Bench *>(bench)->steps(steps);
}

// To all rows, from a reset state: [128][units].
extern "C" const float *rtneural_answers(void *bench) {
    return static_cast<Bench *>(bench)->answers();
}
