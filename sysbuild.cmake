# The firmware knows the image key too (Kconfig: SENSOR_IMAGE_KEY_FILE).
set(SENSOR_IMAGE_VERIFIES_CANDIDATES TRUE)
include(${CMAKE_CURRENT_LIST_DIR}/sysbuild/boot.cmake)
