# The firmware with what the tests add to it; everything else is as in the firmware's own build.
set(board_EXTRA_CONF_FILE ${CMAKE_CURRENT_LIST_DIR}/test.conf CACHE INTERNAL "")
set(board_EXTRA_DTC_OVERLAY_FILE ${CMAKE_CURRENT_LIST_DIR}/emulated_sensor.overlay CACHE INTERNAL "")

include(${CMAKE_CURRENT_LIST_DIR}/../../sysbuild.cmake)
