include(${CMAKE_CURRENT_LIST_DIR}/../../sysbuild/boot.cmake)
