// Segments an image: segment MODEL.tflite IMAGE.ppm IDS.pgm writes the class ids, and prints how many pixels each class
// has. Images are binary PPM (P6), such as `convert photo.jpg image.ppm` or `ffmpeg -i photo.jpg image.ppm` makes.
//
// Made for "person.int8.tflite" by: edgeseg inspect FILE --snippet cpp (edgeseg 0.1.0).
// It needs LiteRT's library and no other; `pip install ai-edge-litert` has it for the machine that compiles:
//   LITERT=$(python3 -c 'import ai_edge_litert as l; print(l.__path__[0])')
//   g++ -std=c++17 -O2 segment.cpp -o segment "$LITERT/libLiteRt.so" -Wl,-rpath,"$LITERT"
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

// What is used of LiteRT's C interface, declared by hand: the Python package has the library and no headers. They were
// run with LiteRT 2.3; with the headers of LiteRT's C++ SDK of your version (litert/c/*.h), include those instead.
extern "C" {
struct RankedTensorType {
  alignas(8) unsigned char opaque[256];  // LiteRtRankedTensorType has 72 bytes, and is only passed on
};
using Handle = void*;
int LiteRtCreateEnvironment(int count, const void* options, Handle* environment);
int LiteRtCreateModelFromBuffer(Handle environment, const void* data, size_t size, Handle* model);
int LiteRtCreateOptions(Handle* options);
int LiteRtSetOptionsHardwareAccelerators(Handle options, int accelerators);
int LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle* compiled);
int LiteRtGetModelSignature(Handle model, size_t index, Handle* signature);
int LiteRtGetSignatureInputTensorByIndex(Handle signature, size_t index, Handle* tensor);
int LiteRtGetSignatureOutputTensorByIndex(Handle signature, size_t index, Handle* tensor);
int LiteRtGetRankedTensorType(Handle tensor, RankedTensorType* type);
int LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle* needs);
int LiteRtGetCompiledModelOutputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle* needs);
int LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const RankedTensorType* type, Handle needs,
                                                    Handle* buffer);
int LiteRtGetTensorBufferPackedSize(Handle buffer, size_t* size);
int LiteRtLockTensorBuffer(Handle buffer, void** address, int mode);
int LiteRtUnlockTensorBuffer(Handle buffer);
int LiteRtRunCompiledModel(Handle compiled, size_t signature, size_t inputs, Handle* input, size_t outputs,
                           Handle* output);
void LiteRtDestroyTensorBuffer(Handle buffer);
void LiteRtDestroyCompiledModel(Handle compiled);
void LiteRtDestroyOptions(Handle options);
void LiteRtDestroyModel(Handle model);
void LiteRtDestroyEnvironment(Handle environment);
}

namespace {

constexpr int kHeight = 256, kWidth = 256;  // of the model's input, in pixels
constexpr int kClasses = 2;
const char* const kNames[kClasses] = {
    "background",
    "person",
};

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

void check(int status, const char* what) {
  if (status != 0) fail(std::string(what) + " fails with LiteRT's status " + std::to_string(status));
}

// -- scaling

// What a pixel of a scaled side is made of: pixels from `first` on, each with a weight; the edge goes on beyond it.
struct Tap {
  int first;
  std::vector<float> weights;
};

double triangle(double x) { return std::max(0.0, 1 - std::abs(x)); }

// Weighs the pixels within `reach` of each scaled one; `widen`: of a scaled one, where it is larger than a given one.
std::vector<Tap> taps(int from, int to, double (*kernel)(double), double reach, bool widen) {
  const double scale = double(from) / to, unit = widen ? std::max(scale, 1.0) : 1.0;
  std::vector<Tap> made(to);
  for (int place = 0; place < to; ++place) {
    const double center = (place + 0.5) * scale;
    int first = int(std::floor(center - reach * unit + 0.5)), end = int(std::floor(center + reach * unit + 0.5));
    if (widen) first = std::max(first, 0), end = std::min(end, from);
    std::vector<float> weights;
    double sum = 0;
    for (int pixel = first; pixel < end; ++pixel) {
      weights.push_back(float(kernel((pixel + 0.5 - center) / unit)));
      sum += weights.back();
    }
    for (float& weight : weights) weight /= float(sum);
    made[place] = {first, weights};
  }
  return made;
}

// Makes a row of a scaled array of (height, width, channels).
template <typename Value>
void scaled_row(const Value* values, int height, int width, int channels, const Tap& row,
                const std::vector<Tap>& columns, float* out) {
  std::vector<float> line(size_t(width) * channels);
  for (size_t number = 0; number < row.weights.size(); ++number) {
    const Value* from = values + std::clamp(row.first + int(number), 0, height - 1) * line.size();
    for (size_t at = 0; at < line.size(); ++at) line[at] += row.weights[number] * from[at];
  }
  for (const Tap& column : columns) {
    for (int channel = 0; channel < channels; ++channel) {
      float sum = 0;
      for (size_t number = 0; number < column.weights.size(); ++number) {
        const int pixel = std::clamp(column.first + int(number), 0, width - 1);
        sum += column.weights[number] * line[size_t(pixel) * channels + channel];
      }
      *out++ = sum;
    }
  }
}

// -- the model

struct Image {
  int height, width;
  std::vector<uint8_t> pixels;  // (height, width, 3) RGB, or (height, width) class ids
};

// Where an image lies in the input, in pixels.
struct Place {
  int top, left, height, width;
};

Place place_of(const Image& image) {
  const double scale = std::min(double(kHeight) / image.height, double(kWidth) / image.width);
  const int height = std::clamp(int(std::nearbyint(image.height * scale)), 1, kHeight);
  const int width = std::clamp(int(std::nearbyint(image.width * scale)), 1, kWidth);
  return {(kHeight - height) / 2, (kWidth - width) / 2, height, width};
}

// What an RGB byte becomes in a channel of the model.
uint8_t fed(uint8_t byte, int channel) {
  (void)channel;
  return byte;  // the model takes the bytes as they are
}

std::vector<uint8_t> preprocess(const Image& image, const Place& place) {
  const int order[3] = {0, 1, 2};  // the model takes RGB
  const uint8_t bars[3] = {128, 128, 128};
  std::vector<uint8_t> tensor(size_t(kHeight) * kWidth * 3);
  const auto put = [&](int y, int x, int channel, uint8_t byte) {
    tensor[(size_t(y) * kWidth + x) * 3 + channel] = fed(byte, channel);
  };
  const auto rows = taps(image.height, place.height, triangle, 1.0, false);
  const auto columns = taps(image.width, place.width, triangle, 1.0, false);
  std::vector<float> row(size_t(place.width) * 3);
  for (int y = 0; y < kHeight; ++y) {
    const bool inside = y >= place.top && y < place.top + place.height;
    if (inside) scaled_row(image.pixels.data(), image.height, image.width, 3, rows[y - place.top], columns, row.data());
    for (int x = 0; x < kWidth; ++x) {
      const bool is_bar = !inside || x < place.left || x >= place.left + place.width;
      for (int channel = 0; channel < 3; ++channel) {
        const int from = order[channel];
        const float value = is_bar ? bars[from] : row[size_t(x - place.left) * 3 + from];
        put(y, x, channel, uint8_t(std::clamp(value + 0.5f, 0.0f, 255.0f)));
      }
    }
  }
  return tensor;
}

Image classes_of(const uint8_t* output, const Image& image, const Place& place) {
  Image ids{image.height, image.width, std::vector<uint8_t>(size_t(image.height) * image.width)};
  std::vector<float> scores(size_t(256) * 256 * kClasses);
  for (size_t at = 0; at < scores.size(); ++at) scores[at] = float(output[at]);
  int height = 256, width = 256;
  if (place.height != kHeight || place.width != kWidth) {
    std::vector<float> inside;
    for (int y = place.top; y < place.top + place.height; ++y) {
      const auto begin = scores.begin() + (size_t(y) * kWidth + place.left) * kClasses;
      inside.insert(inside.end(), begin, begin + size_t(place.width) * kClasses);
    }
    scores = inside, height = place.height, width = place.width;
  }
  // The scores are enlarged, and then the best class is taken: edges are smoother than those of enlarged ids.
  const auto rows = taps(height, image.height, triangle, 1, false), columns = taps(width, image.width, triangle, 1, false);
  std::vector<float> row(size_t(image.width) * kClasses);
  for (int y = 0; y < image.height; ++y) {
    scaled_row(scores.data(), height, width, kClasses, rows[y], columns, row.data());
    for (int x = 0; x < image.width; ++x) {
      const float* pixel = &row[size_t(x) * kClasses];
      ids.pixels[size_t(y) * image.width + x] = uint8_t(std::max_element(pixel, pixel + kClasses) - pixel);
    }
  }
  return ids;
}

class Segmenter {
 public:
  explicit Segmenter(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    data_.assign(std::istreambuf_iterator<char>(file), {});
    if (data_.empty()) fail(path + " cannot be read");
    Handle signature, tensor, needs;
    check(LiteRtCreateEnvironment(0, nullptr, &environment_), "LiteRT");
    check(LiteRtCreateModelFromBuffer(environment_, data_.data(), data_.size(), &model_), "reading the model");
    check(LiteRtCreateOptions(&options_), "making options");
    check(LiteRtSetOptionsHardwareAccelerators(options_, 1), "choosing the CPU");  // 2: GPU, 4: NPU
    check(LiteRtCreateCompiledModel(environment_, model_, options_, &compiled_), "compiling the model");
    check(LiteRtGetModelSignature(model_, 0, &signature), "reading the signature");
    RankedTensorType type;
    check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "reading the input");
    check(LiteRtGetRankedTensorType(tensor, &type), "reading the input");
    check(LiteRtGetCompiledModelInputBufferRequirements(compiled_, 0, 0, &needs), "reading the input");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment_, &type, needs, &input_), "making the input");
    check(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor), "reading the output");
    check(LiteRtGetRankedTensorType(tensor, &type), "reading the output");
    check(LiteRtGetCompiledModelOutputBufferRequirements(compiled_, 0, 0, &needs), "reading the output");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment_, &type, needs, &output_), "making the output");
    require(input_, size_t(kHeight) * kWidth * 3 * sizeof(uint8_t), path);
    require(output_, size_t(256) * 256 * kClasses * sizeof(uint8_t), path);
  }

  ~Segmenter() {
    LiteRtDestroyTensorBuffer(output_);
    LiteRtDestroyTensorBuffer(input_);
    LiteRtDestroyCompiledModel(compiled_);
    LiteRtDestroyOptions(options_);
    LiteRtDestroyModel(model_);
    LiteRtDestroyEnvironment(environment_);
  }

  Segmenter(const Segmenter&) = delete;
  Segmenter& operator=(const Segmenter&) = delete;

  // Returns the class ids of an RGB image of any size, as large as the image.
  Image operator()(const Image& image) {
    const Place place = place_of(image);
    const std::vector<uint8_t> tensor = preprocess(image, place);
    void* address;
    check(LiteRtLockTensorBuffer(input_, &address, 1), "writing the input");
    std::memcpy(address, tensor.data(), tensor.size() * sizeof(uint8_t));
    check(LiteRtUnlockTensorBuffer(input_), "writing the input");
    check(LiteRtRunCompiledModel(compiled_, 0, 1, &input_, 1, &output_), "running the model");
    check(LiteRtLockTensorBuffer(output_, &address, 0), "reading the output");
    const Image ids = classes_of(static_cast<const uint8_t*>(address), image, place);
    check(LiteRtUnlockTensorBuffer(output_), "reading the output");
    return ids;
  }

 private:
  static void require(Handle buffer, size_t expected, const std::string& path) {
    size_t size = 0;
    check(LiteRtGetTensorBufferPackedSize(buffer, &size), "reading a size");
    if (size != expected) fail(path + " is another model than this program was made for");
  }

  std::vector<char> data_;  // LiteRT reads the weights in it
  Handle environment_{}, model_{}, options_{}, compiled_{}, input_{}, output_{};
};

// -- files

Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0, height = 0, most = 0;
  file >> kind >> width >> height >> most;
  file.get();
  if (!file || kind != "P6" || most != 255 || width < 1 || height < 1 || int64_t(width) * height > 1 << 28) {
    fail(path + " is no binary PPM (P6) of 8 bits");
  }
  Image image{height, width, std::vector<uint8_t>(size_t(height) * width * 3)};
  if (!file.read(reinterpret_cast<char*>(image.pixels.data()), std::streamsize(image.pixels.size()))) {
    fail(path + " ends too early");
  }
  return image;
}

void write_pgm(const std::string& path, const Image& ids) {
  std::ofstream file(path, std::ios::binary);
  file << "P5\n" << ids.width << " " << ids.height << "\n255\n";
  file.write(reinterpret_cast<const char*>(ids.pixels.data()), std::streamsize(ids.pixels.size()));
  if (!file.flush()) fail(path + " cannot be written");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) fail(std::string("use: ") + arguments[0] + " MODEL.tflite IMAGE.ppm IDS.pgm");
  Segmenter segmenter(arguments[1]);
  const Image ids = segmenter(read_ppm(arguments[2]));
  std::vector<size_t> pixels(256);
  for (uint8_t index : ids.pixels) ++pixels[index];
  for (int index = 0; index < kClasses; ++index) std::printf("%zu\t%s\n", pixels[index], kNames[index]);
  write_pgm(arguments[3], ids);
}
