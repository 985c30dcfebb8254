/* What build.rs makes Rust bindings from. */

/* Zephyr's build defines it, and then system calls would not be declared as they are for an application. */
#undef KERNEL
/* errno.h comes from the toolchain's C library, which bindgen does not see. */
extern int errno;

#include <zephyr/autoconf.h>

/* GCC defines it where floats are computed in software, and the CMSIS headers want to know. */
#if defined(CONFIG_CPU_CORTEX_M) && !defined(CONFIG_FP_HARDABI) && !defined(__SOFTFP__)
#define __SOFTFP__
#endif

/* As above: GCC has it built in, older clang has not. */
#ifndef __UINT32_C
#define __UINT32_C(c) c##U
#endif

/* The file VERSION. */
#include <zephyr/app_version.h>
#include <zephyr/net/mqtt.h>
#include <zephyr/net/sntp.h>
#include <zephyr/net/socket.h>
#include <zephyr/net/tls_credentials.h>
#include <zephyr/settings/settings.h>
#include "shim.h"
#include "shim_flash.h"
#include "shim_serial.h"
#include "shim_slots.h"
#include "shim_vault.h"
