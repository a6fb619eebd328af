/* Segments an image with libtensorflow's C API: segment SAVED_MODEL IMAGE MAP.pgm

   SAVED_MODEL is the folder of a version, IMAGE a JPEG or PNG file; the map is a grey PGM of the labels.
   The tensors are those of the signature serving_bytes, as `saved_model_cli show --dir SAVED_MODEL --all` lists them.

   cc segment.c -ltensorflow -o segment, or, with the libraries inside TensorFlow's Python package in $TF:
   cc segment.c -I$TF/include -L$TF -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,$TF -o segment */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <tensorflow/c/c_api.h>

static const char *kInput = "serving_bytes_ImageTensor_bytes", *kOutput = "PartitionedCall_1";
enum { kSemanticPredictions = 1 }; /* of that output, after ImageSizes */

static void require(int holds, const char *words) {
  if (!holds) {
    fprintf(stderr, "segment: %s\n", words);
    exit(1);
  }
}

static void require_ok(const TF_Status *status) { require(TF_GetCode(status) == TF_OK, TF_Message(status)); }

static TF_Tensor *read_file(const char *path) {
  FILE *file = fopen(path, "rb");
  require(file != NULL, "the image cannot be opened");
  fseek(file, 0, SEEK_END);
  size_t length = ftell(file);
  rewind(file);
  char *bytes = malloc(length);
  require(fread(bytes, 1, length, file) == length, "the image cannot be read");
  fclose(file);
  int64_t one = 1;
  TF_Tensor *tensor = TF_AllocateTensor(TF_STRING, &one, 1, sizeof(TF_TString));
  TF_StringInit(TF_TensorData(tensor));
  TF_StringCopy(TF_TensorData(tensor), bytes, length);
  free(bytes);
  return tensor;
}

static TF_Tensor *segment(const char *model, TF_Tensor *image) {
  const char *tags[] = {"serve"};
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, model, tags, 1, graph, NULL, status);
  require_ok(status);
  TF_Output input = {TF_GraphOperationByName(graph, kInput), 0};
  TF_Output output = {TF_GraphOperationByName(graph, kOutput), kSemanticPredictions};
  require(input.oper != NULL && output.oper != NULL, "the SavedModel has other tensors than a segmentor's");
  TF_Tensor *labels = NULL;
  TF_SessionRun(session, NULL, &input, &image, 1, &output, &labels, 1, NULL, 0, NULL, status);
  require_ok(status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return labels;
}

static void write_map(const char *path, const TF_Tensor *labels) {
  int64_t height = TF_Dim(labels, 1), width = TF_Dim(labels, 2);
  const int32_t *label = TF_TensorData(labels);
  FILE *file = fopen(path, "wb");
  require(file != NULL, "the map cannot be written");
  fprintf(file, "P5\n%lld %lld\n255\n", (long long)width, (long long)height);
  for (int64_t pixel = 0; pixel < height * width; ++pixel) fputc(label[pixel], file);
  require(fclose(file) == 0, "the map cannot be written");
}

int main(int argc, char **argv) {
  require(argc == 4, "give a SavedModel, an image and a file for the map (PGM)");
  TF_Tensor *image = read_file(argv[2]), *labels = segment(argv[1], image);
  write_map(argv[3], labels);
  TF_DeleteTensor(image);
  TF_DeleteTensor(labels);
  return 0;
}
