# MCUboot as this product builds it: which key it trusts, what a board adds to it, how the virtual board is run. Included by
# sysbuild.cmake of the firmware and of tests/boot.

if(NOT SB_CONFIG_BOOTLOADER_MCUBOOT)
  if(SB_CONFIG_SENSOR_RELEASE)
    message(FATAL_ERROR "A build for release (SB_CONFIG_SENSOR_RELEASE) has no MCUboot: whoever reaches the flash could "
                        "run any image. Set SB_CONFIG_BOOTLOADER_MCUBOOT=y.")
  endif()
  return()
endif()

# The key.
set(sensor_key "${SB_CONFIG_BOOT_SIGNATURE_KEY_FILE}")
if(SB_CONFIG_SENSOR_RELEASE OR SB_CONFIG_SENSOR_SIGNED_ELSEWHERE)
  set(sensor_way_out "Make a key (imgtool keygen -t ecdsa-p256 -k KEY.pem), keep it where nobody else reads it, and build "
                     "with -DSB_CONFIG_BOOT_SIGNATURE_KEY_FILE=\\\"/path/to/KEY.pem\\\". docs/boot.md has the rest.")
  if(NOT SB_CONFIG_BOOT_SIGNATURE_TYPE_ECDSA_P256)
    message(FATAL_ERROR "A build for release signs with ECDSA P-256: SB_CONFIG_BOOT_SIGNATURE_TYPE_ECDSA_P256=y.")
  endif()
  if("${sensor_key}" STREQUAL "")
    message(FATAL_ERROR "A build for release needs the product's own key: SB_CONFIG_BOOT_SIGNATURE_KEY_FILE names none. "
                        ${sensor_way_out})
  endif()
  if(NOT EXISTS "${sensor_key}")
    message(FATAL_ERROR "SB_CONFIG_BOOT_SIGNATURE_KEY_FILE names \"${sensor_key}\", which is no file.")
  endif()
  # By the public key, so that a copy, a re-encoding and the public half alone are recognised too.
  function(sensor_public_key key out)
    execute_process(
      COMMAND ${PYTHON_EXECUTABLE} ${ZEPHYR_MCUBOOT_MODULE_DIR}/scripts/imgtool.py getpub --encoding pem --key ${key}
      OUTPUT_VARIABLE public ERROR_VARIABLE why RESULT_VARIABLE failed)
    if(failed)
      message(FATAL_ERROR "imgtool cannot read the key \"${key}\": ${why}")
    endif()
    set(${out} "${public}" PARENT_SCOPE)
  endfunction()
  sensor_public_key("${sensor_key}" sensor_public)
  sensor_public_key("${ZEPHYR_MCUBOOT_MODULE_DIR}/root-ec-p256.pem" sensor_public_development)
  if(sensor_public STREQUAL sensor_public_development)
    message(FATAL_ERROR "\"${sensor_key}\" is the key that comes with MCUboot: everybody has it, and can sign images for "
                        "this product. A build for release refuses it. " ${sensor_way_out})
  endif()
endif()

# The firmware is held to release.list, for an emulator too.
if(SB_CONFIG_SENSOR_RELEASE AND SENSOR_HAS_RELEASE_LIST)
  set_property(TARGET ${DEFAULT_IMAGE} APPEND PROPERTY IMAGE_CONF_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/release.cmake)
endif()

# The image is left unsigned: the build has the public key only. After Zephyr's own script, which names the key.
if(SB_CONFIG_SENSOR_SIGNED_ELSEWHERE)
  set_property(TARGET ${DEFAULT_IMAGE} APPEND PROPERTY IMAGE_CONF_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/signed_elsewhere.cmake)
endif()

# What this product and its board add to MCUboot.
set(sensor_mcuboot_conf ${CMAKE_CURRENT_LIST_DIR}/mcuboot.conf)
set(sensor_mcuboot_overlay)
string(REPLACE "/" "_" sensor_board "${BOARD}${BOARD_QUALIFIERS}")
if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/boards/${sensor_board}.conf)
  list(APPEND sensor_mcuboot_conf ${CMAKE_CURRENT_LIST_DIR}/boards/${sensor_board}.conf)
endif()
if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/boards/${sensor_board}.overlay)
  set(sensor_mcuboot_overlay ${CMAKE_CURRENT_LIST_DIR}/boards/${sensor_board}.overlay)
endif()
foreach(kind EXTRA_CONF_FILE EXTRA_DTC_OVERLAY_FILE)
  set(files ${sensor_mcuboot_conf})
  # Quoted: unquoted, CMake would take the name for a variable where somebody sets it.
  if("${kind}" STREQUAL "EXTRA_DTC_OVERLAY_FILE")
    set(files ${sensor_mcuboot_overlay})
  endif()
  # What the person at the keyboard adds comes last.
  list(APPEND files ${mcuboot_${kind}})
  list(REMOVE_DUPLICATES files)
  set(mcuboot_${kind} "${files}" CACHE INTERNAL "MCUboot's configuration: this product, its board, this build")
endforeach()

# The virtual board.
if("${BOARD}${BOARD_QUALIFIERS}" STREQUAL "mps2/an385")
  # The flash simulator's memory is the flash that the code is linked into.
  foreach(image mcuboot ${DEFAULT_IMAGE})
    set(${image}_EXTRA_LDFLAGS "-Wl,--no-check-sections" CACHE INTERNAL "Flash over flash is meant")
  endforeach()
  add_custom_target(run
    COMMAND ${PYTHON_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/../scripts/virtual_board.py --build ${CMAKE_BINARY_DIR}
            --application ${DEFAULT_IMAGE}
    DEPENDS mcuboot ${DEFAULT_IMAGE}
    USES_TERMINAL
    COMMENT "The virtual board. To leave it: Ctrl+a, x"
  )
endif()
