// Compiles what follows for the instructions named by JSMPC_TARGET. Standard
// headers come before, lest their inline functions need those instructions.
#if defined(__clang__)
#define JSMPC_STRING(x) #x
#define JSMPC_PRAGMA(x) _Pragma(JSMPC_STRING(x))
JSMPC_PRAGMA(clang attribute push(__attribute__((target(JSMPC_TARGET))), apply_to = function))
#else
#pragma GCC push_options
#define JSMPC_STRING(x) #x
#define JSMPC_PRAGMA(x) _Pragma(JSMPC_STRING(x))
JSMPC_PRAGMA(GCC target(JSMPC_TARGET))
#endif
