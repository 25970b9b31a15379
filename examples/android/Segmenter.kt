// Segments images on Android. It was not compiled: edgeseg has no Android SDK to try it with.
//
//   Segmenter(context).use { segmenter -> val ids = segmenter.segment(bitmap) }  // bitmap.height * bitmap.width class ids
//
// Made for "person.fp16.tflite" by: edgeseg inspect FILE --snippet kotlin (edgeseg 0.1.0).
// The file lies in src/main/assets, and build.gradle.kts has:
//   dependencies { implementation("com.google.ai.edge.litert:litert:2.3.0") }
//   android { androidResources { noCompress += "tflite" } }
package edgeseg.example

import android.content.Context
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

/** Runs the model on images of any size. */
class Segmenter(context: Context, accelerator: Accelerator = Accelerator.CPU) : AutoCloseable {
    private val model = CompiledModel.create(context.assets, FILE, CompiledModel.Options(accelerator))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    /** Returns the class ids of an image, row by row, as large as the image. The bitmap must not be a hardware one. */
    fun segment(image: Bitmap): ByteArray {
        val place = placeOf(image.height, image.width)
        inputs[0].writeFloat(preprocess(image, place))
        model.run(inputs, outputs)
        return classesOf(outputs[0].readFloat(), image.height, image.width, place)
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }

    companion object {
        const val FILE = "person.fp16.tflite"
        const val HEIGHT = 256 // of the model's input, in pixels
        const val WIDTH = 256
        val CLASSES = listOf(
            "background",
            "person",
        )
    }
}

/** Where an image lies in the input, in pixels. */
private class Place(val top: Int, val left: Int, val height: Int, val width: Int)

private fun placeOf(height: Int, width: Int): Place {
    val scale = min(Segmenter.HEIGHT.toDouble() / height, Segmenter.WIDTH.toDouble() / width)
    val newHeight = round(height * scale).toInt().coerceIn(1, Segmenter.HEIGHT)
    val newWidth = round(width * scale).toInt().coerceIn(1, Segmenter.WIDTH)
    return Place((Segmenter.HEIGHT - newHeight) / 2, (Segmenter.WIDTH - newWidth) / 2, newHeight, newWidth)
}

/** Makes the model's input of an image: (1, H, W, 3) float32, RGB. */
private fun preprocess(image: Bitmap, place: Place): FloatArray {
    val order = intArrayOf(0, 1, 2)
    val bars = floatArrayOf(128.0f, 128.0f, 128.0f)
    val mean = floatArrayOf(127.0f, 127.0f, 127.0f)
    val std = floatArrayOf(128.0f, 128.0f, 128.0f)
    val tensor = FloatArray(Segmenter.HEIGHT * Segmenter.WIDTH * 3)
    val rows = taps(image.height, place.height, 1.0, false, ::triangle)
    val columns = taps(image.width, place.width, 1.0, false, ::triangle)
    val pixels = IntArray(image.width)
    val lineOf = { y: Int ->
        image.getPixels(pixels, 0, image.width, 0, y, image.width, 1)
        FloatArray(image.width * 3) { (pixels[it / 3] shr (16 - 8 * (it % 3)) and 0xFF).toFloat() }
    }
    for (y in 0 until Segmenter.HEIGHT) {
        val inside = y >= place.top && y < place.top + place.height
        val row = if (inside) scaledRow(lineOf, image.height, image.width, 3, rows[y - place.top], columns) else null
        for (x in 0 until Segmenter.WIDTH) {
            val column = x - place.left
            for (channel in 0 until 3) {
                val from = order[channel]
                val value = if (row == null || column !in 0 until place.width) bars[from] else row[column * 3 + from]
                val byte = floor(value + 0.5f).coerceIn(0f, 255f)
                val at = (y * Segmenter.WIDTH + x) * 3 + channel
                tensor[at] = (byte - mean[channel]) / std[channel]
            }
        }
    }
    return tensor
}

/** Makes class ids, as large as the image, of the model's output. */
private fun classesOf(output: FloatArray, imageHeight: Int, imageWidth: Int, place: Place): ByteArray {
    val ids = ByteArray(imageHeight * imageWidth)
    val count = Segmenter.CLASSES.size
    var height = 256
    var width = 256
    var scores = FloatArray(output.size) { output[it] }
    if (place.height != Segmenter.HEIGHT || place.width != Segmenter.WIDTH) {
        val inside = FloatArray(place.height * place.width * count)
        for (y in 0 until place.height) {
            val start = ((y + place.top) * Segmenter.WIDTH + place.left) * count
            scores.copyInto(inside, y * place.width * count, start, start + place.width * count)
        }
        scores = inside
        height = place.height
        width = place.width
    }
    // The scores are enlarged, and then the best class is taken: edges are smoother than those of enlarged ids.
    val rows = taps(height, imageHeight, 1.0, false, ::triangle)
    val columns = taps(width, imageWidth, 1.0, false, ::triangle)
    for (y in 0 until imageHeight) {
        val row = scaledRow(linesOf(scores, width * count), height, width, count, rows[y], columns)
        for (x in 0 until imageWidth) {
            var best = 0
            for (index in 1 until count) if (row[x * count + index] > row[x * count + best]) best = index
            ids[y * imageWidth + x] = best.toByte()
        }
    }
    return ids
}

private fun triangle(x: Double): Double = max(0.0, 1 - abs(x))

/** What a pixel of a scaled side is made of: pixels from `first` on, each with a weight; beyond the edge it goes on. */
private class Tap(val first: Int, val weights: FloatArray)

/** Weighs the pixels within `reach`; `widen`: of a scaled pixel, where it is larger than a given one. */
private fun taps(from: Int, to: Int, reach: Double, widen: Boolean, kernel: (Double) -> Double): List<Tap> {
    val scale = from.toDouble() / to
    val unit = if (widen) max(scale, 1.0) else 1.0
    return List(to) { place ->
        val center = (place + 0.5) * scale
        var first = floor(center - reach * unit + 0.5).toInt()
        var end = floor(center + reach * unit + 0.5).toInt()
        if (widen) {
            first = max(first, 0)
            end = min(end, from)
        }
        val weights = DoubleArray(end - first) { kernel((first + it + 0.5 - center) / unit) }
        val sum = weights.sum()
        Tap(first, FloatArray(weights.size) { (weights[it] / sum).toFloat() })
    }
}

private fun linesOf(values: FloatArray, size: Int): (Int) -> FloatArray =
    { y -> values.copyOfRange(y * size, (y + 1) * size) }

/** Makes a row of a scaled array of (height, width, channels), whose rows `lineOf` gives. */
private fun scaledRow(
    lineOf: (Int) -> FloatArray, height: Int, width: Int, channels: Int, row: Tap, columns: List<Tap>,
): FloatArray {
    val line = FloatArray(width * channels)
    row.weights.forEachIndexed { number, weight ->
        val values = lineOf((row.first + number).coerceIn(0, height - 1))
        for (at in line.indices) line[at] += weight * values[at]
    }
    return FloatArray(columns.size * channels) {
        val column = columns[it / channels]
        var sum = 0f
        for (number in column.weights.indices) {
            val pixel = (column.first + number).coerceIn(0, width - 1)
            sum += column.weights[number] * line[pixel * channels + it % channels]
        }
        sum
    }
}
