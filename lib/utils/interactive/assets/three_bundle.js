// Parts of three.js that scene.js uses. three.min.js is made from this file:
//
//     npm install three@0.187.0 esbuild@0.28.2
//     npx esbuild three_bundle.js --bundle --minify --format=iife --global-name=THREE --outfile=three.min.js
export {
  BufferAttribute,
  BufferGeometry,
  Color,
  CylinderGeometry,
  DirectionalLight,
  Group,
  HemisphereLight,
  InstancedMesh,
  LineBasicMaterial,
  LineSegments,
  Matrix4,
  MeshLambertMaterial,
  PerspectiveCamera,
  Quaternion,
  Scene,
  SphereGeometry,
  Vector3,
  WebGLRenderer,
} from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
