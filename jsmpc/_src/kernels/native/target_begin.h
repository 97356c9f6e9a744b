// Compiles what follows for the instructions named by JSMPC_TARGET. Standard
// headers come before, lest their inline functions need those instructions.
#define JSMPC_STRING(x) #x
#define JSMPC_PRAGMA(x) _Pragma(JSMPC_STRING(x))
#if defined(__clang__)
#define JSMPC_APPLY(x) clang attribute push(x, apply_to = function)
JSMPC_PRAGMA(JSMPC_APPLY(__attribute__((target(JSMPC_TARGET)))))
#else
#pragma GCC push_options
JSMPC_PRAGMA(GCC target(JSMPC_TARGET))
#endif
