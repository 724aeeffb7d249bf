# Compiles csrc/tuning/probe.cu to PTX, at configure time, and embeds it; where that cannot be done, the build goes on
# without and says why. One PTX serves every GPU from compute capability 7.5 on: the driver compiles it for its own.
option(GEMM_TUNER_CUDA "Build the CUDA probes where nvcc is found" ON)

# PTX carries the version of the nvcc that wrote it, and older drivers refuse a newer one. The probes use nothing beyond
# the first version that knows sm_75 (CUDA 10.0), so they are stamped with that.
set(GEMM_TUNER_PTX_VERSION 6.3)

# Sets GEMM_TUNER_PROBE_PTX and GEMM_TUNER_NVCC_VERSION, or GEMM_TUNER_PROBES_MISSING.
function(gemm_tuner_compile_probes source)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
  if(NOT GEMM_TUNER_CUDA)
    set(GEMM_TUNER_PROBES_MISSING "GEMM_TUNER_CUDA was OFF: build with -DGEMM_TUNER_CUDA=ON." PARENT_SCOPE)
    return()
  endif()
  find_program(GEMM_TUNER_NVCC nvcc HINTS ENV CUDACXX ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
  if(NOT GEMM_TUNER_NVCC)
    set(GEMM_TUNER_PROBES_MISSING
      "nvcc was not found: install the CUDA toolkit (11.0 or newer), or set CUDA_HOME to it, and build again."
      PARENT_SCOPE)
    return()
  endif()
  set(ptx "${CMAKE_CURRENT_BINARY_DIR}/probe.ptx")
  execute_process(
    COMMAND "${GEMM_TUNER_NVCC}" -ptx -arch=compute_75 -allow-unsupported-compiler "${source}" -o "${ptx}"
    RESULT_VARIABLE failed ERROR_VARIABLE complaint OUTPUT_VARIABLE complaint)
  if(NOT failed)
    file(READ "${ptx}" text)
    string(REGEX REPLACE "\n\\.version [0-9.]+" "\n.version ${GEMM_TUNER_PTX_VERSION}" text "${text}")
    file(WRITE "${ptx}" "${text}")
    # assembled once, so that a kernel that outgrows the stamp fails here and not on a user's GPU
    execute_process(COMMAND "${GEMM_TUNER_NVCC}" -cubin -arch=sm_75 "${ptx}" -o "${ptx}.cubin"
      RESULT_VARIABLE failed ERROR_VARIABLE complaint OUTPUT_VARIABLE complaint)
  endif()
  if(failed)
    string(STRIP "${complaint}" complaint)
    message(WARNING "CUDA probes are left out: ${GEMM_TUNER_NVCC} failed: ${complaint}")
    set(GEMM_TUNER_PROBES_MISSING "nvcc was found but could not compile probe.cu: see the warning of the build."
      PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND "${GEMM_TUNER_NVCC}" --version OUTPUT_VARIABLE version)
  string(REGEX MATCH "V([0-9.]+)" matched "${version}")
  set(GEMM_TUNER_NVCC_VERSION "${CMAKE_MATCH_1}" PARENT_SCOPE)
  set(GEMM_TUNER_PROBE_PTX "${text}" PARENT_SCOPE)
endfunction()

gemm_tuner_compile_probes("${CMAKE_CURRENT_SOURCE_DIR}/csrc/tuning/probe.cu")
configure_file(cmake/build.cpp.in "${CMAKE_CURRENT_BINARY_DIR}/generated/build.cpp" @ONLY)
