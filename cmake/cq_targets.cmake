# A whole build takes half the time if each module is compiled as a few units. The preset `dev` does
# without: there a change of one file takes less, and each file must include what it needs.
option(CQ_UNITY "Compile each module as a few units" ON)
function(cq_unity target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${CQ_UNITY} UNITY_BUILD_BATCH_SIZE 12)
endfunction()

# A module of cq: a static library `cq_NAME`, known as cq::NAME, whose public headers (if any) stand
# in NAME/include and whose internal headers are included by their path from the top.
function(cq_module name)
  add_library(cq_${name} STATIC ${ARGN})
  add_library(cq::${name} ALIAS cq_${name})
  set_target_properties(cq_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_compile_features(cq_${name} PUBLIC cxx_std_20)
  cq_unity(cq_${name})
  target_include_directories(cq_${name}
    PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    PRIVATE ${PROJECT_SOURCE_DIR})
  if(IS_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/include)
    target_include_directories(cq_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>)
  endif()
endfunction()

# Makes `generated/HEADER` define `NAME` as the text of FILE, and lets TARGET include it.
function(cq_embed_text target file header name)
  set(output ${PROJECT_BINARY_DIR}/generated/${header})
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DIN=${CMAKE_CURRENT_SOURCE_DIR}/${file} -DOUT=${output} -DNAME=${name}
            -P ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake
    DEPENDS ${file} ${PROJECT_SOURCE_DIR}/cmake/embed_text.cmake)
  target_sources(${target} PRIVATE ${output})
  target_include_directories(${target} PRIVATE ${PROJECT_BINARY_DIR})
endfunction()
