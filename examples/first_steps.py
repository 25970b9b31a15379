# %% [markdown]
# # First steps
# A packaged model of street scenes segments an image. Nothing is downloaded and nothing needs a GPU:
# `pip install "edgeseg[device]"`.

# %%
from edgeseg import Segmenter
from edgeseg.models.packaged_files import find_file
from edgeseg.proof import read_proof

path = find_file("efficientnet_lite0_unet.fp16")
# The proof beside the file has images that anybody may pass on, and what Keras says of them.
proof = read_proof(path.with_name("efficientnet_lite0_unet.proof.zip"))
image_rgb = proof.images[0].image_rgb

# %% [markdown]
# A segmenter takes an RGB image of any size and gives a class map of that size.

# %%
segmenter = Segmenter(path)
segmentation = segmenter(image_rgb)
print(segmentation.class_map.shape, segmentation.counts())

# %% [markdown]
# In a notebook a segmentation shows itself in the colors of its classes.

# %%
segmentation

# %% [markdown]
# What is done with it: a mask, polygons, a drawing.

# %%
road = segmentation.mask("road")
print(f"{road.mean():.0%} of the image is road, in {len(segmentation.to_polygons('road', min_area=50))} pieces")
drawn = segmentation.draw(image_rgb)

# %% [markdown]
# The class map is what Keras says, but for a few pixels on edges: this is what a proof compares on every device.

# %%
agreement = (segmentation.class_map == proof.images[0].class_map).mean()
print(f"{agreement:.2%} of the pixels have Keras' class")
segmenter.close()
