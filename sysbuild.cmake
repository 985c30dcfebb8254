# The firmware knows the image key too (Kconfig: SENSOR_IMAGE_KEY_FILE).
set(SENSOR_IMAGE_VERIFIES_CANDIDATES TRUE)
# It is held to what a release may have (Kconfig: SENSOR_RELEASE).
set(SENSOR_HAS_RELEASE_LIST TRUE)
include(${CMAKE_CURRENT_LIST_DIR}/sysbuild/boot.cmake)
