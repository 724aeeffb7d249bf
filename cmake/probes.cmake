# Compiles csrc/tuning/*.cu to PTX, at configure time, and embeds it; where that cannot be done, the build goes on without
# and says why. One PTX serves every GPU from its compute capability on: the driver compiles it for its own.
option(GEMM_TUNER_CUDA "Build the CUDA probes where nvcc is found" ON)

# Sets `variable` to the PTX of `source`, empty where this nvcc cannot make it, and `variable`_COMPLAINT to why.
# PTX carries the version of the nvcc that wrote it, and older drivers refuse a newer one: `ptx_version` is the first
# that knows everything the source uses, and what the text is stamped with.
function(gemm_tuner_ptx variable source capability ptx_version)
  set(ptx "${CMAKE_CURRENT_BINARY_DIR}/${source}.${capability}.ptx")
  execute_process(
    COMMAND "${GEMM_TUNER_NVCC}" -ptx "-arch=compute_${capability}" -allow-unsupported-compiler
      "${CMAKE_CURRENT_SOURCE_DIR}/csrc/tuning/${source}.cu" -o "${ptx}"
    RESULT_VARIABLE failed ERROR_VARIABLE complaint OUTPUT_VARIABLE complaint)
  if(NOT failed)
    file(READ "${ptx}" text)
    string(REGEX REPLACE "\n\\.version [0-9.]+" "\n.version ${ptx_version}" text "${text}")
    file(WRITE "${ptx}" "${text}")
    # assembled once, so that a kernel that outgrows the stamp fails here and not on a user's GPU
    execute_process(COMMAND "${GEMM_TUNER_NVCC}" -cubin "-arch=sm_${capability}" "${ptx}" -o "${ptx}.cubin"
      RESULT_VARIABLE failed ERROR_VARIABLE complaint OUTPUT_VARIABLE complaint)
  endif()
  if(failed)
    set(text "")
  else()
    set(complaint "")
  endif()
  string(STRIP "${complaint}" complaint)
  set(${variable} "${text}" PARENT_SCOPE)
  set(${variable}_COMPLAINT "${complaint}" PARENT_SCOPE)
endfunction()

# Sets GEMM_TUNER_NVCC_VERSION and GEMM_TUNER_*_PTX, or GEMM_TUNER_PROBES_MISSING.
function(gemm_tuner_compile_probes)
  file(GLOB sources CONFIGURE_DEPENDS csrc/tuning/*.cu csrc/tuning/*.cuh)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${sources})
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
  gemm_tuner_ptx(probe probe 75 6.3)
  gemm_tuner_ptx(memory memory 75 6.3)
  gemm_tuner_ptx(tensor_75 tensor 75 6.5)
  gemm_tuner_ptx(tensor_80 tensor 80 7.0)
  gemm_tuner_ptx(tensor_89 tensor 89 8.4)
  set(complaint "${probe_COMPLAINT}${memory_COMPLAINT}${tensor_75_COMPLAINT}${tensor_80_COMPLAINT}")
  if(complaint)
    message(WARNING "CUDA probes are left out: ${GEMM_TUNER_NVCC} failed: ${complaint}")
    set(GEMM_TUNER_PROBES_MISSING "nvcc was found but could not compile the probes: see the warning of the build."
      PARENT_SCOPE)
    return()
  endif()
  if(tensor_89_COMPLAINT)
    message(STATUS "The probe of float8 is left out: it takes CUDA 12.4 or newer")
  endif()
  execute_process(COMMAND "${GEMM_TUNER_NVCC}" --version OUTPUT_VARIABLE version)
  string(REGEX MATCH "V([0-9.]+)" matched "${version}")
  set(GEMM_TUNER_NVCC_VERSION "${CMAKE_MATCH_1}" PARENT_SCOPE)
  set(GEMM_TUNER_PROBE_PTX "${probe}" PARENT_SCOPE)
  set(GEMM_TUNER_MEMORY_PTX "${memory}" PARENT_SCOPE)
  set(GEMM_TUNER_TENSOR_75_PTX "${tensor_75}" PARENT_SCOPE)
  set(GEMM_TUNER_TENSOR_80_PTX "${tensor_80}" PARENT_SCOPE)
  set(GEMM_TUNER_TENSOR_89_PTX "${tensor_89}" PARENT_SCOPE)
endfunction()

gemm_tuner_compile_probes()
configure_file(cmake/build.cpp.in "${CMAKE_CURRENT_BINARY_DIR}/generated/build.cpp" @ONLY)
