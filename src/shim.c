/*
 * See shim.h. Also here, because only C can say it: what the build must have or must not have, and the time() that
 * Mbed TLS asks for the date.
 */
#include "shim.h"

#include <errno.h>
#include <time.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/threading.h>
#include <mbedtls/x509_crt.h>
#include <zephyr/device.h>
#include <zephyr/drivers/hwinfo.h>
#include <zephyr/drivers/sensor.h>
#include <zephyr/drivers/watchdog.h>
#include <zephyr/fatal.h>
#include <zephyr/init.h>
#include <zephyr/kernel.h>
#include <zephyr/linker/section_tags.h>
#include <zephyr/logging/log.h>
#include <zephyr/logging/log_ctrl.h>
#include <zephyr/net/dhcpv4.h>
#include <zephyr/net/net_if.h>
#include <zephyr/net/tls_credentials.h>
#include <zephyr/random/random.h>
#include <zephyr/shell/shell.h>
#include <zephyr/sys/clock.h>
#include <zephyr/sys/reboot.h>
#include <zephyr/zvfs/eventfd.h>

LOG_MODULE_REGISTER(sensor_device, CONFIG_SENSOR_DEVICE_LOG_LEVEL);

#define ANY_FAKE_ENTROPY                                                                                               \
	DT_HAS_COMPAT_STATUS_OKAY(sensor_emulated_entropy) || DT_HAS_COMPAT_STATUS_OKAY(zephyr_native_sim_rng) ||      \
		DT_HAS_COMPAT_STATUS_OKAY(zephyr_native_posix_rng)

BUILD_ASSERT(IS_ENABLED(CONFIG_NET_SOCKETS_SOCKOPT_TLS) && IS_ENABLED(CONFIG_MQTT_LIB_TLS) &&
		     IS_ENABLED(CONFIG_MQTT_LIB_CUSTOM_TRANSPORT),
	     "The service is reached over TLS only: there is no build without it.");
BUILD_ASSERT(IS_ENABLED(CONFIG_NET_SOCKETS_TLS_CERT_VERIFY_CALLBACK),
	     "The firmware reports why a certificate was refused: it needs the verification callback.");
BUILD_ASSERT(IS_ENABLED(CONFIG_MBEDTLS_HAVE_TIME_DATE),
	     "Without MBEDTLS_HAVE_TIME_DATE expired certificates are accepted.");
BUILD_ASSERT(!IS_ENABLED(CONFIG_MBEDTLS_RSA_C) && !IS_ENABLED(CONFIG_PSA_WANT_KEY_TYPE_RSA_PUBLIC_KEY) &&
		     !IS_ENABLED(CONFIG_PSA_WANT_ALG_CBC_NO_PADDING) && !IS_ENABLED(CONFIG_MBEDTLS_CIPHER_MODE_CBC_ENABLED),
	     "Only ECDSA and AEAD cipher suites are allowed.");
BUILD_ASSERT(!(IS_ENABLED(CONFIG_TEST_RANDOM_GENERATOR) || IS_ENABLED(CONFIG_TEST_CSPRNG_GENERATOR)) ||
		     IS_ENABLED(CONFIG_SENSOR_EMULATED_BOARD),
	     "A test random generator makes guessable keys: it is for emulated boards only.");
BUILD_ASSERT(IS_ENABLED(CONFIG_SENSOR_EMULATED_BOARD) || !(ANY_FAKE_ENTROPY),
	     "The devicetree has an emulated entropy source, which makes guessable keys: it is for emulated boards only.");
BUILD_ASSERT(IS_ENABLED(CONFIG_CTR_DRBG_CSPRNG_GENERATOR) && IS_ENABLED(CONFIG_MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG) &&
		     !IS_ENABLED(CONFIG_MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG_ALLOW_NON_CSPRNG) &&
		     MBEDTLS_CTR_DRBG_RESEED_INTERVAL == 0,
	     "Keys are made by the CTR_DRBG only, which asks the health-tested source before every request.");
BUILD_ASSERT(IS_ENABLED(CONFIG_SECURE_STORAGE_ITS_STORE_IMPLEMENTATION_CUSTOM),
	     "Keys are kept in the vault's own partition: nothing else overwrites what is removed.");
BUILD_ASSERT(IS_ENABLED(CONFIG_SECURE_STORAGE_ITS_TRANSFORM_IMPLEMENTATION_AEAD) &&
		     IS_ENABLED(CONFIG_SECURE_STORAGE_ITS_TRANSFORM_AEAD_KEY_PROVIDER_CUSTOM) &&
		     IS_ENABLED(CONFIG_SECURE_STORAGE_ITS_TRANSFORM_AEAD_NONCE_PROVIDER_DEFAULT),
	     "Keys are sealed with a key of the device, and no nonce is used twice: Zephyr's other providers make the key "
	     "of public numbers.");
BUILD_ASSERT(IS_ENABLED(CONFIG_SENSOR_SEALING_KEY_BOARD) ||
		     (IS_ENABLED(CONFIG_SENSOR_SEALING_KEY_TEST) && IS_ENABLED(CONFIG_SENSOR_EMULATED_BOARD)),
	     "The vault must be sealed with a key that only this device has: supply sensor_sealing_key() for the board and "
	     "select SENSOR_HAS_SEALING_KEY (docs/vault.md). There is no default on hardware.");
BUILD_ASSERT(!IS_ENABLED(CONFIG_SENSOR_TEST_FAULTS) || IS_ENABLED(CONFIG_SENSOR_EMULATED_BOARD),
	     "Images that are made to fail are for emulated boards only.");
BUILD_ASSERT(K_HEAP_MEM_POOL_SIZE >= CONFIG_DNS_RESOLVER_AI_MAX_ENTRIES * sizeof(struct zsock_addrinfo) + 256,
	     "The kernel's heap must have room for the addresses of a host (DNS_RESOLVER_AI_MAX_ENTRIES): without it no name and "
	     "no number has an address.");
BUILD_ASSERT(2 * CONFIG_NET_SOCKETS_CONNECT_TIMEOUT <= CONFIG_SENSOR_CONNECT_TIMEOUT_MS,
	     "TCP and TLS may each take NET_SOCKETS_CONNECT_TIMEOUT: both must fit into SENSOR_CONNECT_TIMEOUT_MS.");
BUILD_ASSERT(CONFIG_NET_SOCKETS_DNS_TIMEOUT <= CONFIG_NET_SOCKETS_DNS_BACKOFF_INTERVAL,
	     "A query that is repeated while its first answer may still come is CVE-2026-10646: NET_SOCKETS_DNS_TIMEOUT must not "
	     "be longer than NET_SOCKETS_DNS_BACKOFF_INTERVAL.");
BUILD_ASSERT(IS_ENABLED(CONFIG_MBEDTLS_SSL_PROTO_TLS1_3) != IS_ENABLED(CONFIG_MBEDTLS_SSL_PROTO_TLS1_2),
	     "One version of TLS: 1.3, or 1.2 in a build with tls12.conf.");
BUILD_ASSERT(MBEDTLS_SSL_IN_CONTENT_LEN == 16384,
	     "A service may send records of 16 KiB: a smaller buffer lets one message end every connection.");
BUILD_ASSERT(!IS_ENABLED(CONFIG_PSA_WANT_ALG_DETERMINISTIC_ECDSA),
	     "Deterministic ECDSA with Mbed TLS's fast reduction is CVE-2026-54435: the vault signs with random numbers.");
BUILD_ASSERT(CONFIG_SENSOR_CONNECT_TIMEOUT_MS + CONFIG_SENSOR_ANSWER_TIMEOUT_MS < CONFIG_SENSOR_CONFIGURATION_TRIAL_MS,
	     "SENSOR_CONFIGURATION_TRIAL_MS must leave time for one connection and its first answer.");

BUILD_ASSERT(CONFIG_NET_SOCKETS_TLS_MAX_CREDENTIALS >= SHIM_TLS_TAGS_MAX &&
		     CONFIG_TLS_MAX_CREDENTIALS_NUMBER >= 2 * SHIM_TLS_TAGS_MAX,
	     "Three roots, two certificates and a key must be shown to TLS at once.");

BUILD_ASSERT(SHIM_CERTIFICATE_EXPIRED == MBEDTLS_X509_BADCERT_EXPIRED);
BUILD_ASSERT(SHIM_CERTIFICATE_NAME == MBEDTLS_X509_BADCERT_CN_MISMATCH);
BUILD_ASSERT(SHIM_CERTIFICATE_NOT_TRUSTED == MBEDTLS_X509_BADCERT_NOT_TRUSTED);
BUILD_ASSERT(SHIM_CERTIFICATE_KEY_USAGE == MBEDTLS_X509_BADCERT_KEY_USAGE);
BUILD_ASSERT(SHIM_CERTIFICATE_EXTENDED_KEY_USAGE == MBEDTLS_X509_BADCERT_EXT_KEY_USAGE);
BUILD_ASSERT(SHIM_CERTIFICATE_FUTURE == MBEDTLS_X509_BADCERT_FUTURE);
BUILD_ASSERT(SHIM_CERTIFICATE_OTHER == MBEDTLS_X509_BADCERT_OTHER);

void shim_log(enum shim_level level, const char *text)
{
	/* The macros expand per level. */
	switch (level) {
	case SHIM_ERROR:
		LOG_ERR("%s", text);
		break;
	case SHIM_WARNING:
		LOG_WRN("%s", text);
		break;
	case SHIM_INFO:
		LOG_INF("%s", text);
		break;
	default:
		LOG_DBG("%s", text);
		break;
	}
}

enum shim_errno shim_errno_kind(int error)
{
	switch (-error) {
	case EAGAIN:
		return SHIM_ERRNO_AGAIN;
	case ECONNREFUSED:
		return SHIM_ERRNO_REFUSED;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
		return SHIM_ERRNO_UNREACHABLE;
	case ETIMEDOUT:
		return SHIM_ERRNO_TIMED_OUT;
	case ECONNABORTED:
		return SHIM_ERRNO_ABORTED;
	case EIO:
		return SHIM_ERRNO_IO;
	case ENOTCONN:
		return SHIM_ERRNO_NOT_CONNECTED;
	case ENOENT:
		return SHIM_ERRNO_NO_ENTRY;
	case EINVAL:
		return SHIM_ERRNO_INVALID;
	case ENOSPC:
		return SHIM_ERRNO_NO_SPACE;
	case ENODEV:
		return SHIM_ERRNO_NO_DEVICE;
	default:
		return SHIM_ERRNO_OTHER;
	}
}

int shim_errno_io(void)
{
	return -EIO;
}

bool shim_certificate_is_self_issued(const void *certificate)
{
	const mbedtls_x509_crt *crt = certificate;

	return crt->issuer_raw.len == crt->subject_raw.len &&
	       memcmp(crt->issuer_raw.p, crt->subject_raw.p, crt->subject_raw.len) == 0;
}

bool shim_certificate_has_alternative_name(const void *certificate)
{
	return mbedtls_x509_crt_has_ext_type(certificate, MBEDTLS_X509_EXT_SUBJECT_ALT_NAME) != 0;
}

bool shim_certificate_is_authority(const void *certificate)
{
	/* Negative where there is no such extension. */
	return mbedtls_x509_crt_get_ca_istrue(certificate) > 0;
}

size_t shim_certificate_der(const void *certificate, const uint8_t **der)
{
	const mbedtls_x509_crt *crt = certificate;

	*der = crt->raw.p;
	return crt->raw.len;
}

/*
 * Zephyr folds every failed handshake into one errno, and a certificate that Mbed TLS cannot read never reaches the callback:
 * the linker leads these two calls through here (CMakeLists.txt). src/tls.rs takes each certificate that the service sends.
 */
extern void tls_certificate_sent(const uint8_t *der, size_t len);

static bool shaking_hands;
static int handshake_error;

int __real_mbedtls_ssl_handshake(mbedtls_ssl_context *ssl);
int __wrap_mbedtls_ssl_handshake(mbedtls_ssl_context *ssl);
int __real_mbedtls_x509_crt_parse_der(mbedtls_x509_crt *chain, const unsigned char *der, size_t len);
int __wrap_mbedtls_x509_crt_parse_der(mbedtls_x509_crt *chain, const unsigned char *der, size_t len);
int __real_mbedtls_x509_crt_parse_der_nocopy(mbedtls_x509_crt *chain, const unsigned char *der, size_t len);
int __wrap_mbedtls_x509_crt_parse_der_nocopy(mbedtls_x509_crt *chain, const unsigned char *der, size_t len);

int __wrap_mbedtls_ssl_handshake(mbedtls_ssl_context *ssl)
{
	shaking_hands = true;
	handshake_error = __real_mbedtls_ssl_handshake(ssl);
	shaking_hands = false;
	return handshake_error;
}

/*
 * A service may show more than a path needs: what is signed or keyed in another way than the build knows is passed over behind its
 * own certificate, and left out of every path. Mbed TLS means to do so, for signatures, and gives the error back all the same where
 * it was the last one. What is keyed in another way is not good enough for all that: the rule for what was sent (src/tls.rs) names it.
 */
static int pass_over(const mbedtls_x509_crt *chain, int error)
{
	bool unknown = error == MBEDTLS_ERR_X509_UNKNOWN_SIG_ALG + MBEDTLS_ERR_OID_NOT_FOUND ||
		       error == MBEDTLS_ERR_PK_UNKNOWN_PK_ALG || error == MBEDTLS_ERR_PK_UNKNOWN_NAMED_CURVE;

	return shaking_hands && unknown && chain->version != 0 ? 0 : error;
}

int __wrap_mbedtls_x509_crt_parse_der(mbedtls_x509_crt *chain, const unsigned char *der, size_t len)
{
	/* Roots and the device's own certificates are read before. */
	if (shaking_hands) {
		tls_certificate_sent(der, len);
	}
	return pass_over(chain, __real_mbedtls_x509_crt_parse_der(chain, der, len));
}

/* The same for TLS 1.2. */
int __wrap_mbedtls_x509_crt_parse_der_nocopy(mbedtls_x509_crt *chain, const unsigned char *der, size_t len)
{
	if (shaking_hands) {
		tls_certificate_sent(der, len);
	}
	return pass_over(chain, __real_mbedtls_x509_crt_parse_der_nocopy(chain, der, len));
}

enum shim_handshake shim_handshake_error(void)
{
	switch (handshake_error) {
	/* No other message of a service comes near the limit. */
	case MBEDTLS_ERR_SSL_BUFFER_TOO_SMALL:
		return SHIM_HANDSHAKE_TOO_LONG;
	/* By the service, with an alert or without a word; also while Mbed TLS waited for the socket. */
	case MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE:
	case MBEDTLS_ERR_SSL_CONN_EOF:
	case MBEDTLS_ERR_NET_SEND_FAILED:
	case MBEDTLS_ERR_NET_RECV_FAILED:
	case MBEDTLS_ERR_NET_CONN_RESET:
	case MBEDTLS_ERR_SSL_WANT_READ:
	case MBEDTLS_ERR_SSL_WANT_WRITE:
		return SHIM_HANDSHAKE_BROKEN_OFF;
	default:
		return SHIM_HANDSHAKE_OTHER;
	}
}

/*
 * Two threads use Mbed TLS: the device's, for documents and keys, and the network's, for TLS. Its heap and PSA Crypto's key
 * slots are one for both. Zephyr's mutexes may be taken again by who has them: a key that is loaded is unsealed with another.
 */
static void mutex_init(mbedtls_threading_mutex_t *mutex)
{
	(void)k_mutex_init(mutex);
}

static void mutex_free(mbedtls_threading_mutex_t *mutex)
{
	ARG_UNUSED(mutex);
}

static int mutex_lock(mbedtls_threading_mutex_t *mutex)
{
	return k_mutex_lock(mutex, K_FOREVER) == 0 ? 0 : MBEDTLS_ERR_THREADING_MUTEX_ERROR;
}

static int mutex_unlock(mbedtls_threading_mutex_t *mutex)
{
	return k_mutex_unlock(mutex) == 0 ? 0 : MBEDTLS_ERR_THREADING_MUTEX_ERROR;
}

static int lock_mbedtls(void)
{
	mbedtls_threading_set_alt(mutex_init, mutex_free, mutex_lock, mutex_unlock);
	return 0;
}

/* Before Zephyr starts Mbed TLS, at CONFIG_KERNEL_INIT_PRIORITY_DEFAULT. */
SYS_INIT(lock_mbedtls, POST_KERNEL, 0);
BUILD_ASSERT(CONFIG_KERNEL_INIT_PRIORITY_DEFAULT > 0, "Mbed TLS's locks must be there before it starts.");

/*
 * The network's thread. The device's loop goes first wherever both could run: a handshake computes for seconds on a small
 * core. Below the network's own threads, above the log's and the shell's.
 */
#define NETWORK_PRIORITY 5
BUILD_ASSERT(NETWORK_PRIORITY > CONFIG_MAIN_THREAD_PRIORITY, "The device's loop must not wait for the network's thread.");

static K_THREAD_STACK_DEFINE(network_stack, CONFIG_SENSOR_NETWORK_STACK_SIZE);
static struct k_thread network_thread;

static void network_entry(void *entry, void *unused, void *unused_too)
{
	ARG_UNUSED(unused);
	ARG_UNUSED(unused_too);
	((void (*)(void))entry)();
}

void shim_network_thread_start(void (*entry)(void))
{
	k_tid_t thread = k_thread_create(&network_thread, network_stack, K_THREAD_STACK_SIZEOF(network_stack),
					 network_entry, (void *)entry, NULL, NULL, K_PRIO_PREEMPT(NETWORK_PRIORITY), 0,
					 K_NO_WAIT);

	(void)k_thread_name_set(thread, "network");
}

static K_SEM_DEFINE(device_bell, 0, 1);
static K_SEM_DEFINE(heard, 0, 1);

void shim_device_ring(void)
{
	k_sem_give(&device_bell);
}

void shim_device_wait(uint32_t ms)
{
	(void)k_sem_take(&device_bell, K_MSEC(ms));
}

void shim_heard(void)
{
	k_sem_give(&heard);
}

void shim_heard_wait(void)
{
	(void)k_sem_take(&heard, K_FOREVER);
}

int shim_bell_open(void)
{
	int bell = zvfs_eventfd(0, ZVFS_EFD_NONBLOCK);

	return bell < 0 ? -errno : bell;
}

void shim_bell_ring(int bell)
{
	/* It fails where it has rung 2^64 times unheard. */
	(void)zvfs_eventfd_write(bell, 1);
}

void shim_bell_quiet(int bell)
{
	zvfs_eventfd_t count;

	(void)zvfs_eventfd_read(bell, &count);
}

void shim_network_start(void)
{
#ifdef CONFIG_NET_DHCPV4
	net_dhcpv4_start(net_if_get_default());
#endif
}

int shim_socket_tls(int family)
{
	/* The protocol number only says "TLS": which versions are offered is Mbed TLS's configuration. */
	int fd = zsock_socket(family, SOCK_STREAM, IPPROTO_TLS_1_2);

	return fd < 0 ? -errno : fd;
}

int shim_socket_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	return zsock_connect(fd, address, len) < 0 ? -errno : 0;
}

int shim_socket_send(int fd, const void *data, size_t len)
{
	ssize_t sent = zsock_send(fd, data, len, 0);

	return sent < 0 ? -errno : (int)sent;
}

int shim_socket_receive(int fd, void *data, size_t len)
{
	ssize_t received = zsock_recv(fd, data, len, ZSOCK_MSG_DONTWAIT);

	return received < 0 ? -errno : (int)received;
}

int shim_socket_poll(struct zsock_pollfd *fds, int count, int timeout_ms)
{
	int ready = zsock_poll(fds, count, timeout_ms);

	return ready < 0 ? -errno : ready;
}

int shim_socket_close(int fd)
{
	return zsock_close(fd) < 0 ? -errno : 0;
}

int shim_socket_send_timeout(int fd, uint32_t timeout_ms)
{
	struct zsock_timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

	return zsock_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ? -errno : 0;
}

uint32_t shim_address_number(const struct sockaddr *address)
{
	if (address == NULL || address->sa_family != AF_INET) {
		return 0;
	}
	return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr);
}

int shim_tls_require(int fd, int first, int tags, const char *host)
{
	sec_tag_t list[SHIM_TLS_TAGS_MAX];
	const int verify = TLS_PEER_VERIFY_REQUIRED;

	if (tags < 1 || tags > SHIM_TLS_TAGS_MAX) {
		return -EINVAL;
	}
	for (int i = 0; i < tags; i++) {
		list[i] = first + i;
	}
	if (zsock_setsockopt(fd, SOL_TLS, TLS_PEER_VERIFY, &verify, sizeof(verify)) < 0 ||
	    zsock_setsockopt(fd, SOL_TLS, TLS_SEC_TAG_LIST, list, tags * sizeof(list[0])) < 0 ||
	    zsock_setsockopt(fd, SOL_TLS, TLS_HOSTNAME, host, strlen(host) + 1) < 0) {
		return -errno;
	}
	return 0;
}

int shim_tls_verify_with(int fd, int (*verify)(void *, void *, int, uint32_t *), void *context)
{
	const struct tls_cert_verify_cb callback = {.cb = verify, .ctx = context};

	return zsock_setsockopt(fd, SOL_TLS, TLS_CERT_VERIFY_CALLBACK, &callback, sizeof(callback)) < 0 ? -errno : 0;
}

uint64_t shim_uptime_ms(void)
{
	return (uint64_t)k_uptime_get();
}

void shim_sleep_ms(uint32_t ms)
{
	k_msleep(ms);
}

int shim_clock_set(uint64_t seconds, uint32_t nanoseconds)
{
	const struct timespec now = {.tv_sec = (time_t)seconds, .tv_nsec = nanoseconds};

	return sys_clock_settime(SYS_CLOCK_REALTIME, &now);
}

uint64_t shim_clock_get_s(void)
{
	time_t now = time(NULL);

	return now > 0 ? (uint64_t)now : 0;
}

uint64_t shim_build_epoch_s(void)
{
	return SENSOR_BUILD_EPOCH_S;
}

/*
 * What Mbed TLS checks certificates against. With the host's C library its own time() would answer with the host's
 * date, whatever Zephyr's clock says.
 */
time_t time(time_t *out)
{
	struct timespec now = {0};

	/* An unset clock is 1970, and no certificate is valid then: a failure here is safe. */
	(void)sys_clock_gettime(SYS_CLOCK_REALTIME, &now);
	if (out != NULL) {
		*out = now.tv_sec;
	}
	return now.tv_sec;
}

const char *shim_vendor_id(void)
{
	return SENSOR_VENDOR_ID;
}

const char *shim_class_id(void)
{
	return SENSOR_CLASS_ID;
}

int shim_random(void *data, size_t len)
{
	return sys_csrand_get(data, len);
}

#if DT_HAS_ALIAS(env_sensor)
#define SENSOR_NODE DT_ALIAS(env_sensor)
#else
#define SENSOR_NODE DT_COMPAT_GET_ANY_STATUS_OKAY(bosch_bme280)
#endif

/* NULL where the devicetree has no sensor. */
static const struct device *const sensor = DEVICE_DT_GET_OR_NULL(SENSOR_NODE);

bool shim_sensor_is_ready(void)
{
	return sensor != NULL && device_is_ready(sensor);
}

int shim_sensor_fetch(void)
{
	return sensor_sample_fetch(sensor);
}

static int channel(enum sensor_channel wanted, struct shim_value *value)
{
	struct sensor_value got = {0};
	int error = sensor_channel_get(sensor, wanted, &got);

	*value = (struct shim_value){.whole = got.val1, .millionths = got.val2};
	return error;
}

int shim_sensor_temperature(struct shim_value *value)
{
	return channel(SENSOR_CHAN_AMBIENT_TEMP, value);
}

int shim_sensor_humidity(struct shim_value *value)
{
	return channel(SENSOR_CHAN_HUMIDITY, value);
}

int shim_sensor_pressure(struct shim_value *value)
{
	return channel(SENSOR_CHAN_PRESS, value);
}

#if DT_HAS_ALIAS(watchdog0) && defined(CONFIG_WATCHDOG)
static const struct device *const watchdog = DEVICE_DT_GET(DT_ALIAS(watchdog0));
static int watchdog_channel = -1;
/* Whose life it watches. */
static k_tid_t watched;

/* Arm's watchdog interrupts before it resets, and cannot be asked afterwards; others refuse a callback. */
#ifdef CONFIG_WDOG_CMSDK_APB
static void about_to_bite(const struct device *device, int channel)
{
	ARG_UNUSED(device);
	ARG_UNUSED(channel);
	shim_note_reset(SHIM_RESET_WATCHDOG);
	/* The reset itself comes only after as much time again. */
	sys_reboot(SYS_REBOOT_COLD);
}
#else
#define about_to_bite NULL
#endif

int shim_watchdog_start(uint32_t timeout_ms)
{
	const struct wdt_timeout_cfg timeout = {
		.window.max = timeout_ms, .callback = about_to_bite, .flags = WDT_FLAG_RESET_SOC};
	int error;

	if (!device_is_ready(watchdog)) {
		return -ENODEV;
	}
	watched = k_current_get();
	watchdog_channel = wdt_install_timeout(watchdog, &timeout);
	if (watchdog_channel < 0) {
		return watchdog_channel;
	}
	error = wdt_setup(watchdog, WDT_OPT_PAUSE_HALTED_BY_DBG);
	/* Not every watchdog can pause for the debugger. */
	return error == -ENOTSUP ? wdt_setup(watchdog, 0) : error;
}

int shim_watchdog_feed(void)
{
	return watchdog_channel < 0 ? -ENODEV : wdt_feed(watchdog, watchdog_channel);
}
#else
int shim_watchdog_start(uint32_t timeout_ms)
{
	ARG_UNUSED(timeout_ms);
	return -ENODEV;
}

int shim_watchdog_feed(void)
{
	return -ENODEV;
}
#endif

size_t shim_chip_id(uint8_t *id, size_t room)
{
	ssize_t len = IS_ENABLED(CONFIG_HWINFO) ? hwinfo_get_device_id(id, room) : 0;

	return len > 0 ? (size_t)len : 0;
}

/* What the firmware knows of the reset to come. It lies where a reset leaves the RAM as it is. */
static __noinit struct {
	uint32_t magic;
	uint32_t cause;
} note;
#define NOTED 0x72657374

void shim_note_reset(enum shim_reset cause)
{
	note.magic = NOTED;
	note.cause = cause;
}

static enum shim_reset noted(void)
{
	enum shim_reset cause = note.magic == NOTED ? note.cause : SHIM_RESET_UNKNOWN;

	note.magic = 0;
	return cause;
}

enum shim_reset shim_reset_cause(void)
{
	enum shim_reset own = noted();
	uint32_t cause = 0;

	if (!IS_ENABLED(CONFIG_HWINFO) || hwinfo_get_reset_cause(&cause) != 0) {
		return own;
	}
	/* The bits gather until they are cleared. */
	(void)hwinfo_clear_reset_cause();
	if (cause & RESET_WATCHDOG) {
		return SHIM_RESET_WATCHDOG;
	}
	if (cause & RESET_CPU_LOCKUP) {
		return SHIM_RESET_FAULT;
	}
	if (cause & RESET_SOFTWARE) {
		/* After a panic the firmware itself resets the board. */
		return own == SHIM_RESET_UNKNOWN ? SHIM_RESET_SOFTWARE : own;
	}
	if (cause & RESET_BROWNOUT) {
		return SHIM_RESET_BROWNOUT;
	}
	if (cause & RESET_POR) {
		return SHIM_RESET_POWER_ON;
	}
	return cause & RESET_PIN ? SHIM_RESET_PIN : SHIM_RESET_UNKNOWN;
}

static void reboot(enum shim_reset cause)
{
	/* What is still in the log's buffer would be lost. */
	LOG_PANIC();
	shim_note_reset(cause);
	sys_reboot(SYS_REBOOT_COLD);
}

void shim_reboot(void)
{
	reboot(SHIM_RESET_SOFTWARE);
}

void shim_reboot_hung(void)
{
	reboot(SHIM_RESET_WATCHDOG);
}

/*
 * A fault, a failed assertion, a panic (Rust's too) or an overflown stack. Zephyr would halt here for good: a device starts
 * again, and an image on trial is gone then.
 */
void k_sys_fatal_error_handler(unsigned int reason, const struct arch_esf *esf)
{
	ARG_UNUSED(esf);
	shim_note_reset(SHIM_RESET_FAULT);
	LOG_PANIC();
	LOG_ERR("fatal error %u: the device restarts", reason);
	sys_reboot(SYS_REBOOT_COLD);
}

static atomic_t restart_wanted;

bool shim_restart_wanted(void)
{
	return atomic_get(&restart_wanted) != 0;
}

#ifdef CONFIG_SHELL
static int restart(const struct shell *shell, size_t argc, char **argv)
{
	ARG_UNUSED(argc);
	ARG_UNUSED(argv);
	atomic_set(&restart_wanted, 1);
	shell_print(shell, "the device keeps what is not delivered and restarts");
	return 0;
}

static int panic(const struct shell *shell, size_t argc, char **argv)
{
	ARG_UNUSED(argc);
	ARG_UNUSED(argv);
	shell_print(shell, "the device panics");
	k_panic();
	return 0;
}

static int hang_network(const struct shell *shell, size_t argc, char **argv)
{
	ARG_UNUSED(argc);
	ARG_UNUSED(argv);
	shell_print(shell, "the network's thread hangs; the device will see it");
	k_thread_suspend(&network_thread);
	return 0;
}

#if DT_HAS_ALIAS(watchdog0) && defined(CONFIG_WATCHDOG)
static int hang(const struct shell *shell, size_t argc, char **argv)
{
	ARG_UNUSED(argc);
	ARG_UNUSED(argv);
	shell_print(shell, "the device hangs; its watchdog will end it");
	k_thread_suspend(watched);
	return 0;
}
#define HANG SHELL_CMD(hang, NULL, "Stop the device's loop, to see the watchdog bite.", hang),
#else
#define HANG
#endif

SHELL_STATIC_SUBCMD_SET_CREATE(sensor_commands,
			       SHELL_CMD(restart, NULL, "Restart in an orderly way.", restart),
			       SHELL_CMD(panic, NULL, "Panic, to see the device start again.", panic),
			       SHELL_CMD(hang_network, NULL, "Stop the network's thread, to see the device find out.",
					 hang_network),
			       HANG
			       SHELL_SUBCMD_SET_END);
SHELL_CMD_REGISTER(device, &sensor_commands, "The sensor device.", NULL);
#endif
