/*
 * What ECDSA on P-256 costs: p256 and Mbed TLS through PSA Crypto, the same keys and digests, one after the other.
 * QEMU counts instructions (-icount): the same numbers in every run. Elsewhere they are the timer's cycles.
 */
#include <psa/crypto.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <zephyr/kernel.h>
#ifdef CONFIG_MBEDTLS_MEMORY_DEBUG
#include <mbedtls/memory_buffer_alloc.h>
#endif

#ifdef CONFIG_QEMU_ICOUNT
BUILD_ASSERT(CONFIG_BENCH_INSTRUCTION_NS == 1 << CONFIG_QEMU_ICOUNT_SHIFT, "QEMU is told another time");
#endif

#define ROUNDS 8
#define STACK_BYTES 16384

bool p256_public(const uint8_t scalar[32], uint8_t public[65]);
bool p256_sign(const uint8_t scalar[32], const uint8_t digest[32], uint8_t signature[64]);
bool p256_verify(const uint8_t public[65], const uint8_t digest[32], const uint8_t signature[64]);

static const uint8_t scalar[32] = {[0 ... 31] = 0x21};
static uint8_t public[65];
static uint8_t digests[ROUNDS][32];
static uint8_t signatures[ROUNDS][64];
static uint8_t psa_signatures[ROUNDS][64];
static psa_key_id_t pair, verifier;

static psa_key_id_t import(psa_key_type_t type, psa_key_usage_t usage, const uint8_t *bytes, size_t len)
{
	psa_key_attributes_t attributes = PSA_KEY_ATTRIBUTES_INIT;
	psa_key_id_t id = PSA_KEY_ID_NULL;

	psa_set_key_type(&attributes, type);
	psa_set_key_usage_flags(&attributes, usage);
	psa_set_key_algorithm(&attributes, PSA_ALG_DETERMINISTIC_ECDSA(PSA_ALG_SHA_256));
	(void)psa_import_key(&attributes, bytes, len, &id);
	return id;
}

static bool psa_sign(int round)
{
	size_t len = 0;

	return psa_sign_hash(pair, PSA_ALG_DETERMINISTIC_ECDSA(PSA_ALG_SHA_256), digests[round], 32,
			     psa_signatures[round], 64, &len) == PSA_SUCCESS && len == 64;
}

static bool psa_verify(int round)
{
	return psa_verify_hash(verifier, PSA_ALG_DETERMINISTIC_ECDSA(PSA_ALG_SHA_256), digests[round], 32,
			       psa_signatures[round], 64) == PSA_SUCCESS;
}

/* With an imported key and thrown away again: what a document costs whose key is stored as bytes. */
static bool psa_verify_imported(int round)
{
	psa_key_id_t id = import(PSA_KEY_TYPE_ECC_PUBLIC_KEY(PSA_ECC_FAMILY_SECP_R1), PSA_KEY_USAGE_VERIFY_HASH,
				 public, sizeof(public));
	bool verified = psa_verify_hash(id, PSA_ALG_DETERMINISTIC_ECDSA(PSA_ALG_SHA_256), digests[round], 32,
					psa_signatures[round], 64) == PSA_SUCCESS;

	return psa_destroy_key(id) == PSA_SUCCESS && verified;
}

static bool rust_sign(int round)
{
	return p256_sign(scalar, digests[round], signatures[round]);
}

static bool rust_verify(int round)
{
	return p256_verify(public, digests[round], signatures[round]);
}

/* A wrong signature must not pass, or verifying was not measured. */
static bool rust_refuses(int round)
{
	return !p256_verify(public, digests[(round + 1) % ROUNDS], signatures[round]);
}

static bool psa_refuses(int round)
{
	return psa_verify_hash(verifier, PSA_ALG_DETERMINISTIC_ECDSA(PSA_ALG_SHA_256),
			       digests[(round + 1) % ROUNDS], 32, psa_signatures[round], 64) ==
	       PSA_ERROR_INVALID_SIGNATURE;
}

/* Two million instructions, or what is measured is something else. */
static bool calibrate(int round)
{
	ARG_UNUSED(round);
#ifdef CONFIG_ARM
	uint32_t loops = 1000000;

	__asm__ volatile("1: subs %0, %0, #1\n\tbne 1b" : "+r"(loops) : : "cc");
#endif
	return true;
}

struct measure {
	const char *name;
	bool (*operation)(int round);
	uint32_t least, most, mean;
	size_t stack;
	bool passed;
};

static struct measure measures[] = {
	{.name = "calibration", .operation = calibrate},
	{.name = "p256_sign", .operation = rust_sign},
	{.name = "psa_sign", .operation = psa_sign},
	{.name = "p256_verify", .operation = rust_verify},
	{.name = "psa_verify", .operation = psa_verify},
	{.name = "psa_verify_imported", .operation = psa_verify_imported},
	{.name = "p256_refuse", .operation = rust_refuses},
	{.name = "psa_refuse", .operation = psa_refuses},
};

/* Cycles of the timer to instructions, where QEMU gives each the same time. */
static uint32_t instructions(uint32_t cycles)
{
#if CONFIG_BENCH_INSTRUCTION_NS
	uint64_t ns = (uint64_t)cycles * 1000000000U / sys_clock_hw_cycles_per_sec();

	return (uint32_t)(ns / CONFIG_BENCH_INSTRUCTION_NS);
#else
	return cycles;
#endif
}

static void run(void *of, void *b, void *c)
{
	struct measure *measure = of;
	uint64_t sum = 0;

	ARG_UNUSED(b);
	ARG_UNUSED(c);
	measure->passed = true;
	measure->least = UINT32_MAX;
	for (int round = 0; round < ROUNDS; round++) {
		uint32_t before = k_cycle_get_32();
		bool passed = measure->operation(round);
		uint32_t took = instructions(k_cycle_get_32() - before);

		measure->passed &= passed;
		measure->least = MIN(measure->least, took);
		measure->most = MAX(measure->most, took);
		sum += took;
	}
	measure->mean = (uint32_t)(sum / ROUNDS);
}

K_THREAD_STACK_DEFINE(stack, STACK_BYTES);

static bool measure_in_thread(struct measure *measure)
{
	static struct k_thread thread;
	size_t unused = 0;

	k_thread_create(&thread, stack, STACK_BYTES, run, measure, NULL, NULL, K_PRIO_PREEMPT(1), 0, K_NO_WAIT);
	(void)k_thread_join(&thread, K_FOREVER);
	if (k_thread_stack_space_get(&thread, &unused) == 0) {
		measure->stack = STACK_BYTES - unused;
	}
	return measure->passed;
}

/* RFC 6979 leaves no choice but the sign of s: both must make the same r. */
static bool signatures_agree(void)
{
	for (int round = 0; round < ROUNDS; round++) {
		if (memcmp(signatures[round], psa_signatures[round], 32) != 0) {
			return false;
		}
	}
	return true;
}

int main(void)
{
	bool passed = psa_crypto_init() == PSA_SUCCESS && p256_public(scalar, public);

	for (int round = 0; round < ROUNDS; round++) {
		for (int at = 0; at < 32; at++) {
			digests[round][at] = (uint8_t)(31 * at + 57 * round + 1);
		}
	}
	pair = import(PSA_KEY_TYPE_ECC_KEY_PAIR(PSA_ECC_FAMILY_SECP_R1), PSA_KEY_USAGE_SIGN_HASH, scalar,
		      sizeof(scalar));
	verifier = import(PSA_KEY_TYPE_ECC_PUBLIC_KEY(PSA_ECC_FAMILY_SECP_R1), PSA_KEY_USAGE_VERIFY_HASH, public,
			  sizeof(public));
	printk("%s, %d rounds, in %s\n", CONFIG_BOARD_TARGET, ROUNDS,
	       CONFIG_BENCH_INSTRUCTION_NS ? "instructions" : "cycles of the timer");
	for (size_t i = 0; i < ARRAY_SIZE(measures); i++) {
		struct measure *measure = &measures[i];
		size_t heap = 0;
#ifdef CONFIG_MBEDTLS_MEMORY_DEBUG
		size_t blocks = 0;

		mbedtls_memory_buffer_alloc_max_reset();
#endif
		passed &= measure_in_thread(measure);
#ifdef CONFIG_MBEDTLS_MEMORY_DEBUG
		mbedtls_memory_buffer_alloc_max_get(&heap, &blocks);
#endif
		printk("%-20s mean %9u least %9u most %9u stack %5zu heap %5zu %s\n", measure->name, measure->mean,
		       measure->least, measure->most, measure->stack, heap, measure->passed ? "ok" : "FAILED");
	}
	passed &= signatures_agree();
	printk("%s\n", passed ? "bench_ecdsa done" : "bench_ecdsa FAILED");
	return 0;
}
