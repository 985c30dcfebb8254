/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * What a test may do to the emulated entropy source: break it. Owns no test and no key. Serves R-ENTROPY.
 */
#ifndef SENSOR_DEVICE_EMULATED_ENTROPY_H_
#define SENSOR_DEVICE_EMULATED_ENTROPY_H_

#ifdef __cplusplus
extern "C" {
#endif

/** What is wrong with the source. */
enum emulated_entropy_fault {
	/** Nothing: every byte is as likely as any other. */
	EMULATED_ENTROPY_FAULT_NONE,
	/** It gives one byte for ever. */
	EMULATED_ENTROPY_FAULT_STUCK,
	/** Three of four bytes are the same one. */
	EMULATED_ENTROPY_FAULT_BIASED,
	/** It does not answer: -EIO. */
	EMULATED_ENTROPY_FAULT_NO_ANSWER,
};

/** @brief Break the source from its next byte on, or mend it. */
void emulated_entropy_set_fault(enum emulated_entropy_fault fault);

/**
 * @brief Break the source after it has given @p bytes good ones: a source that fails in use.
 */
void emulated_entropy_set_fault_after(enum emulated_entropy_fault fault, unsigned int bytes);

#ifdef __cplusplus
}
#endif

#endif /* SENSOR_DEVICE_EMULATED_ENTROPY_H_ */
