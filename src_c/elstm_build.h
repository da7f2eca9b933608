/* What a build links and how much its structs hold: a full build. Firmware brings a file of this
 * name with its own numbers; `edgelstm export-c` writes one. All files of a build see the same. */
#ifndef ELSTM_BUILD_H
#define ELSTM_BUILD_H

/* 0: no float arithmetic at all. s8 models alone, through the s8 and raw doors. */
#ifndef ELSTM_LINKS_F32
#define ELSTM_LINKS_F32 1
#endif

/* 0: layers of tfl8 models, or the s8 GRU, are not linked, and the kernel sets for microcontrollers
 * leave out what these alone call. */
#ifndef ELSTM_LINKS_TFL8
#define ELSTM_LINKS_TFL8 1
#endif
#ifndef ELSTM_LINKS_GRU
#define ELSTM_LINKS_GRU 1
#endif

/* The most inputs, or outputs, of a model; tensors' clocks, at least 2 (a model whose steps have
 * one row each has 1); and tensors that a layer reads. A model that has more is refused. */
#ifndef ELSTM_MAX_PORTS
#define ELSTM_MAX_PORTS 8
#endif
#ifndef ELSTM_MAX_CLOCKS
#define ELSTM_MAX_CLOCKS 16
#endif
#ifndef ELSTM_MAX_READS
#define ELSTM_MAX_READS 16
#endif

/* 1: reads images in the rows layout alone, 0: in the standard one alone (docs/format.md). */
#ifndef ELSTM_LAYOUT_ROWS
#define ELSTM_LAYOUT_ROWS 0
#endif

#endif
